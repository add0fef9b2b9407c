package scan

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/vulndb"
	"github.com/temper-images/temper/integration/tools"
)

// A download that is killed goes on where it ended.
func TestKilledDownload(t *testing.T) {
	d := ready(t)
	half := make(chan struct{})
	var once sync.Once
	var resumed atomic.Value
	files := http.StripPrefix("/v6", http.FileServer(http.Dir(d.db.Dir)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, ".tar.zst") {
			files.ServeHTTP(w, r)
			return
		}
		if rng := r.Header.Get("Range"); rng != "" {
			resumed.Store(rng)
			files.ServeHTTP(w, r)
			return
		}
		dt, err := os.ReadFile(d.db.Archive)
		if err != nil {
			panic(err)
		}
		w.Header().Set("Content-Length", "1000000000")
		_, _ = w.Write(dt[:len(dt)/2])
		w.(http.Flusher).Flush()
		once.Do(func() { close(half) })
		<-r.Context().Done()
	}))
	defer srv.Close()
	cache := filepath.Join(t.TempDir(), "cache")
	cmd := exec.CommandContext(bounded(t), tools.Path("temper"), "db", "update", "--db", srv.URL, "--progress", "plain")
	cmd.Env = append(os.Environ(), vulndb.EnvDir+"="+cache)
	require.NoError(t, cmd.Start())
	<-half
	part := ""
	require.Eventually(t, func() bool {
		list, _ := filepath.Glob(filepath.Join(cache, "downloads", "*.part"))
		if len(list) == 0 {
			return false
		}
		part = list[0]
		fi, err := os.Stat(part)
		return err == nil && fi.Size() > 0
	}, time.Minute, 10*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
	require.Error(t, cmd.Wait())

	code, out, log := temper(t, t.TempDir(), cache, "db", "update", "--db", srv.URL, "--progress", "plain")
	require.Zero(t, code, "%s", log)
	require.Contains(t, out, "built     2026-05-04T03:02:01Z")
	require.NotNil(t, resumed.Load(), "the second run asked for the rest")
	require.NoFileExists(t, part)
}

// Processes that fetch at the same time fetch once, and all of them get it.
func TestTwoProcesses(t *testing.T) {
	d := ready(t)
	var archives atomic.Int32
	files := http.StripPrefix("/v6", http.FileServer(http.Dir(d.db.Dir)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".tar.zst") {
			archives.Add(1)
			time.Sleep(time.Second)
		}
		files.ServeHTTP(w, r)
	}))
	defer srv.Close()
	cache := filepath.Join(t.TempDir(), "cache")
	dir := t.TempDir()
	var wg sync.WaitGroup
	codes := make([]int, 3)
	for i := range codes {
		wg.Go(func() { codes[i], _, _ = temper(t, dir, cache, "db", "update", "--db", srv.URL, "--progress", "plain") })
	}
	wg.Wait()
	require.Equal(t, []int{0, 0, 0}, codes)
	require.Equal(t, int32(1), archives.Load())
	code, out, _ := temper(t, dir, cache, "db", "status", "--db", srv.URL, "--db-max-age", "-1", "--json")
	require.Zero(t, code)
	require.Contains(t, out, `"stale": false`)
}

// A full disk is told of, and nothing is left on it.
func TestFullDisk(t *testing.T) {
	d := ready(t)
	for name, size := range map[string]string{"download": "16k", "unpack": "96k", "index": "256k"} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.StripPrefix("/v6", http.FileServer(http.Dir(d.db.Dir))))
			defer srv.Close()
			disk := t.TempDir()
			require.NoError(t, syscall.Mount("tmpfs", disk, "tmpfs", 0, "size="+size))
			defer func() { require.NoError(t, syscall.Unmount(disk, syscall.MNT_DETACH)) }()
			code, _, log := temper(t, t.TempDir(), filepath.Join(disk, "cache"), "db", "update", "--db", srv.URL, "--progress", "plain")
			require.Equal(t, 1, code, "%s", log)
			require.Contains(t, log, "there is no room for the vulnerability database")
			require.Contains(t, log, vulndb.EnvDir)
			left, err := filepath.Glob(filepath.Join(disk, "cache", "*"))
			require.NoError(t, err)
			for _, path := range left {
				fi, err := os.Stat(path)
				require.NoError(t, err)
				require.True(t, fi.IsDir() || fi.Size() == 0, "%s is left", path)
				require.NotContains(t, path, ".new-")
			}
		})
	}
}

// A mirror's address may be a secret reference, and its password is told to nobody.
func TestSecretMirror(t *testing.T) {
	d := ready(t)
	files := http.StripPrefix("/v6", http.FileServer(http.Dir(d.db.Dir)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "ci" || password != "hunter2hunter2" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		files.ServeHTTP(w, r)
	}))
	defer srv.Close()
	cache := filepath.Join(t.TempDir(), "cache")
	t.Setenv("MIRROR", strings.Replace(srv.URL, "://", "://ci:hunter2hunter2@", 1))
	code, out, log := temper(t, t.TempDir(), cache, "db", "update", "--db", "ref+env://MIRROR", "--progress", "plain")
	require.Zero(t, code, "%s", log)
	require.NotContains(t, out+log, "hunter2")
	for _, args := range [][]string{{"db", "status", "--db", "ref+env://MIRROR"}, {"db", "update", "--db", "ref+env://MIRROR", "--db-max-age", "1"}} {
		_, out, log := temper(t, t.TempDir(), cache, args...)
		require.NotContains(t, out+log, "hunter2")
	}
	require.NoError(t, filepath.WalkDir(cache, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			var dt []byte
			if dt, err = os.ReadFile(path); err == nil && bytes.Contains(dt, []byte("hunter2")) {
				t.Errorf("%s has the password in it", path)
			}
		}
		return err
	}))
}

// What one server publishes is imported on a machine without a network.
func TestImport(t *testing.T) {
	d := ready(t)
	cache, dir := filepath.Join(t.TempDir(), "cache"), t.TempDir()
	code, _, log := temper(t, dir, cache, "db", "status", "--offline")
	require.Equal(t, 1, code)
	require.Contains(t, log, "temper db import FILE")
	code, out, log := temper(t, dir, cache, "db", "import", d.db.Archive, "--progress", "plain")
	require.Zero(t, code, "%s", log)
	require.Contains(t, out, "too old: temper db update")
	code, out, _ = temper(t, dir, cache, "db", "status")
	require.Equal(t, 1, code, "a stale database is told by the exit code too")
	require.Contains(t, out, "schema    6.1.")
}
