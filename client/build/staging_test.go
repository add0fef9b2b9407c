package build

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/temper-images/temper/client/ocilayout"
)

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, dt := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(dt), 0o644))
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

var oldLayout = map[string]string{
	"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": `{"schemaVersion":2,"manifests":[]}`, "old": "old",
}

func TestStagedDirReplacesInOneStep(t *testing.T) {
	for _, tc := range []struct {
		name     string
		old      map[string]string
		exchange func(a, b string) error
	}{{"absent", nil, nil}, {"layout", oldLayout, nil}, {"layout, in three steps", oldLayout, swap}} {
		t.Run(tc.name, func(t *testing.T) {
			parent := t.TempDir()
			dest := filepath.Join(parent, "deep", "out")
			writeFiles(t, dest, tc.old)
			s, err := stageDir(dest)
			require.NoError(t, err)
			writeFiles(t, s.tmp, map[string]string{"new": "new"})
			require.NoError(t, os.Mkdir(filepath.Join(s.tmp, "ingest"), 0o755))
			if tc.old != nil {
				require.FileExists(t, filepath.Join(dest, "old"), "what was there stays until the end")
			}
			if tc.exchange != nil {
				require.NoError(t, tc.exchange(s.tmp, dest))
				require.FileExists(t, filepath.Join(s.tmp, "old"))
				require.NoError(t, tc.exchange(s.tmp, dest))
			}
			require.NoError(t, s.commit())
			require.Equal(t, []string{"new"}, names(t, dest))
			require.Equal(t, []string{"out"}, names(t, filepath.Dir(dest)))
			require.NoError(t, s.abort(), "abort after commit does nothing")
			require.Equal(t, []string{"new"}, names(t, dest))
			fi, err := os.Stat(dest)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o755), fi.Mode().Perm())
		})
	}
}

func TestStagedDirAbort(t *testing.T) {
	dest := filepath.Join(t.TempDir(), "out")
	writeFiles(t, dest, oldLayout)
	s, err := stageDir(dest)
	require.NoError(t, err)
	writeFiles(t, s.tmp, map[string]string{"half": ""})
	require.NoError(t, s.abort())
	require.Equal(t, []string{"index.json", "oci-layout", "old"}, names(t, dest))
	require.Equal(t, []string{"out"}, names(t, filepath.Dir(dest)))
}

func TestStagedDirRefuses(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"precious/thesis.tex": "x", "file": "x"})
	inside := filepath.Join(dir, "inside")
	writeFiles(t, inside, oldLayout)
	require.NoError(t, os.Mkdir(filepath.Join(inside, "sub"), 0o755))
	t.Chdir(filepath.Join(inside, "sub"))

	_, err := stageDir(filepath.Join(dir, "precious"))
	require.ErrorIs(t, err, ocilayout.ErrNotLayout)
	require.ErrorContains(t, err, "left alone")
	_, err = stageDir(filepath.Join(dir, "file"))
	require.ErrorContains(t, err, "is a file")
	_, err = stageDir(inside)
	require.ErrorContains(t, err, "current directory")
	_, err = stageFile(inside)
	require.ErrorContains(t, err, "not a regular file")
	require.FileExists(t, filepath.Join(dir, "precious", "thesis.tex"))
}

func TestStagedFile(t *testing.T) {
	dir := t.TempDir()
	dest := filepath.Join(dir, "image.tar")
	writeFiles(t, dir, map[string]string{"image.tar": "old"})
	link := filepath.Join(dir, "link.tar")
	require.NoError(t, os.Symlink("image.tar", link))
	real, err := resolveDest(link)
	require.NoError(t, err)
	for _, commit := range []bool{false, true} {
		s, err := stageFile(real)
		require.NoError(t, err)
		w, err := s.writer(nil)
		require.NoError(t, err)
		_, err = w.Write([]byte("new"))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		want := "old"
		if commit {
			require.NoError(t, s.commit())
			want = "new"
		}
		require.NoError(t, s.abort())
		dt, err := os.ReadFile(dest)
		require.NoError(t, err)
		require.Equal(t, want, string(dt))
		require.Equal(t, []string{"image.tar", "link.tar"}, names(t, dir))
	}
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "dangling")))
	_, err = resolveDest(filepath.Join(dir, "dangling"))
	require.ErrorContains(t, err, "symlink to nowhere")
}

func TestStagingOfTheDeadIsRemoved(t *testing.T) {
	dir := t.TempDir()
	dest := filepath.Join(dir, "out")
	writeFiles(t, dir, map[string]string{".temper-out-1/half": "", ".temper-out-2": "", ".temper-other-1/half": ""})
	alive, err := stageDir(dest)
	require.NoError(t, err)
	aliveFile, err := stageFile(dest)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{".temper-other-1", filepath.Base(alive.tmp), filepath.Base(aliveFile.tmp)}, names(t, dir))
	require.NoError(t, alive.abort())
	require.NoError(t, aliveFile.abort())
	require.Equal(t, []string{".temper-other-1"}, names(t, dir))
}

func TestStagingByMany(t *testing.T) {
	dir := t.TempDir()
	dest := filepath.Join(dir, "out")
	errs := make(chan error)
	const many = 16
	for i := range many {
		go func() {
			make := stageDir
			if i%2 == 0 {
				make = stageFile
			}
			for range 50 {
				s, err := make(dest)
				if err == nil {
					_, err = os.Stat(s.tmp)
					err = errors.Join(err, s.abort())
				}
				if err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range many {
		require.NoError(t, <-errs)
	}
	require.Empty(t, names(t, dir))
}
