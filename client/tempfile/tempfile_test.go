package tempfile

import (
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNoName(t *testing.T) {
	dir := t.TempDir()
	for name, make := range map[string]func(string) (*os.File, error){"new": New, "unlinked": unlinked} {
		f, err := make(dir)
		require.NoError(t, err, name)
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, entries, name)
		_, err = f.WriteString("text")
		require.NoError(t, err, name)
		dt, err := io.ReadAll(io.NewSectionReader(f, 0, 10))
		require.NoError(t, err, name)
		require.Equal(t, "text", string(dt), name)
		require.NoError(t, f.Close(), name)
	}
	_, err := New(dir + "/none")
	require.ErrorIs(t, err, os.ErrNotExist)
}
