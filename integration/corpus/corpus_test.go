package corpus

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/hardening/spec"
)

// The applications that are built in seconds work at the strictest level, without
// any configuration. make corpus runs the others, and the other levels.
func TestQuickApplications(t *testing.T) {
	dir, err := os.MkdirTemp("", "temper-") //nolint:usetesting // a short path: sockets have at most 108 characters
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	r, err := NewRunner(t.Context(), Options{Dir: dir, Levels: []spec.Level{spec.LevelMinimal}, Jobs: 2})
	require.NoError(t, err)
	var quick []App
	for _, a := range Apps() {
		if a.Quick {
			quick = append(quick, a)
		}
	}
	require.NotEmpty(t, quick)
	rows := r.Run(t.Context(), quick)
	require.NoError(t, r.Close())
	for _, row := range rows {
		t.Run(row.App, func(t *testing.T) {
			require.Empty(t, row.Err)
			m := row.Levels[spec.LevelMinimal]
			require.Empty(t, m.Build, "build")
			require.Empty(t, m.Works, "what the application does")
			require.Empty(t, m.Others, "what else it does")
			require.Zero(t, m.SetUID)
		})
	}
}

// Every application has what it takes, and names no base that is not there.
func TestApplicationsAreComplete(t *testing.T) {
	for _, a := range Apps() {
		require.DirExists(t, "apps/"+a.Name)
		require.FileExists(t, "apps/"+a.Name+"/Dockerfile")
		require.NotNil(t, a.Works, a.Name)
		require.NotNil(t, a.Others, a.Name)
		for _, name := range a.Bases {
			require.Contains(t, Bases, name, a.Name)
		}
	}
	dirs, err := os.ReadDir("apps")
	require.NoError(t, err)
	for _, d := range dirs {
		found := false
		for _, a := range Apps() {
			found = found || a.Name == d.Name()
		}
		require.True(t, found, "apps/%s belongs to no application", d.Name())
	}
}
