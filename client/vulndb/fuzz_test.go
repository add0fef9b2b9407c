package vulndb

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

func unzstd(t testing.TB, dt []byte) []byte {
	t.Helper()
	z, err := zstd.NewReader(bytes.NewReader(dt))
	require.NoError(t, err)
	defer z.Close()
	out, err := io.ReadAll(z)
	require.NoError(t, err)
	return out
}

// Whatever an archive holds, only the one file is written, and no more of it than
// allowed.
func FuzzExtract(f *testing.F) {
	f.Add([]byte("SQLite format 3\x00 and more"))
	f.Add([]byte("\x1F\x8B\x08\x00"))
	f.Add([]byte("\x28\xB5\x2F\xFD\x00"))
	t := &testing.T{}
	good := archive(t, member{name: "vulnerability.db", content: "hello"}, member{name: "../../etc/passwd", content: "x"})
	f.Add(good)
	f.Add(unzstd(f, good))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, dt []byte) {
		file := filepath.Join(dir, "vulnerability.db")
		_ = os.Remove(file)
		err := extract(bufio.NewReader(bytes.NewReader(dt)), file, 1<<12)
		list, rerr := os.ReadDir(dir)
		require.NoError(t, rerr)
		require.LessOrEqual(t, len(list), 1)
		if err == nil {
			fi, err := os.Stat(file)
			require.NoError(t, err)
			require.LessOrEqual(t, fi.Size(), int64(1<<12))
		}
	})
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 5-9/10")
	f.Add("bytes */10")
	f.Fuzz(func(t *testing.T, s string) {
		start, total := contentRange(s)
		require.GreaterOrEqual(t, start, int64(-1))
		require.GreaterOrEqual(t, total, int64(0))
	})
}
