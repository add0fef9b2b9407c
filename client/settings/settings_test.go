package settings

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/frontend/config"
)

func write(t *testing.T, file, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(content), 0o644))
}

func TestLoad(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "root/temper.yaml", "scan: {grace: 1}\n")
	write(t, "root/sub/temper.yaml", "scan: {grace: 2}\n")
	write(t, "root/sub/Dockerfile", "FROM scratch\n")
	write(t, "bare/Dockerfile", "FROM scratch\n")
	write(t, "beside/d/temper.yaml", "scan: {grace: 2}\n")
	write(t, "other.yaml", "scan: {grace: 3}\n")
	env := func(name string) (string, bool) { return "9", name == "TEMPER_SCAN_GRACE" }
	for _, tc := range []struct {
		name   string
		o      Options
		grace  int
		file   string
		dir    string
		remote bool
	}{
		{"in the context", Options{Context: "root"}, 1, "root/temper.yaml", "root", false},
		{"the context's before the Dockerfile's", Options{Context: "root", Dockerfile: "root/sub/Dockerfile"}, 1, "root/temper.yaml", "root", false},
		{"beside the Dockerfile", Options{Context: "bare", Dockerfile: "beside/d/Dockerfile"}, 2, "beside/d/temper.yaml", "bare", false},
		{"nowhere", Options{Context: "bare"}, 0, "", "bare", false},
		{"Dockerfile on standard input", Options{Context: "bare", Dockerfile: "-"}, 0, "", "bare", false},
		{"named", Options{Context: "root", File: "other.yaml"}, 3, "other.yaml", "root", false},
		{"named for a remote context", Options{Context: "https://example.com/x.git", File: "other.yaml"}, 3, "other.yaml", ".", false},
		{"remote", Options{Context: "https://example.com/x.git", BuildArgs: []string{"TEMPER_SCAN_GRACE=4"}}, 4, "", "", true},
		{"override", Options{Context: "root", BuildArgs: []string{"A=b", "TEMPER_SCAN_GRACE=4"}}, 4, "root/temper.yaml", "root", false},
		{"override from the environment", Options{Context: "root", BuildArgs: []string{"TEMPER_SCAN_GRACE", "OTHER"}, LookupEnv: env}, 9, "root/temper.yaml", "root", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := Load(tc.o)
			require.NoError(t, err)
			require.Equal(t, tc.grace, s.Scan.Grace)
			require.Equal(t, tc.file, s.File)
			require.Equal(t, tc.dir, s.Dir)
			require.Equal(t, tc.remote, s.Remote)
		})
	}
}

func TestLoadErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "bad/temper.yaml", "scan:\n  gate: no\n")
	write(t, "large/temper.yaml", strings.Repeat("#", config.MaxSize+1))
	write(t, "good/temper.yaml", "")
	require.NoError(t, os.MkdirAll("dir/temper.yaml", 0o755))
	for _, tc := range []struct {
		o    Options
		says string
	}{
		{Options{Context: "bad"}, "bad/temper.yaml:2:9: scan.gate"},
		{Options{Context: "large"}, "more than the 1048576 allowed"},
		{Options{Context: "dir"}, "is a directory"},
		{Options{Context: "good", File: "nowhere.yaml"}, "no such file"},
		{Options{Context: "good", BuildArgs: []string{"TEMPER_SCAN_GATE=no"}}, "TEMPER_SCAN_GATE"},
		{Options{Context: "good", BuildArgs: []string{"TEMPER_SCAN_GAT=no"}}, `did you mean "TEMPER_SCAN_GATE"`},
	} {
		_, err := Load(tc.o)
		require.ErrorContains(t, err, tc.says)
	}
}
