package transfer

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/transfer"
	"github.com/temper-images/temper/integration/fault"
)

// killAt runs temper and kills it at the nth request that passes the proxy. It says
// whether there were as many.
func killAt(t *testing.T, dir string, proxy *fault.Proxy, n int32, args ...string) bool {
	t.Helper()
	cmd := command(t.Context(), dir, "temper", args...)
	var count atomic.Int32
	var once sync.Once
	started := make(chan struct{})
	killed := false
	proxy.Set(func(*http.Request) fault.Fault {
		if count.Add(1) != n {
			return nil
		}
		return func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
			<-started
			once.Do(func() { killed = cmd.Process.Kill() == nil })
			// What was sent already, the server has.
			forward.ServeHTTP(w, r)
		}
	})
	require.NoError(t, cmd.Start())
	close(started)
	err := cmd.Wait()
	proxy.Set(nil)
	if count.Load() < n {
		require.NoError(t, err)
		return false
	}
	return killed
}

// A copy is killed at every few requests, and run again each time: no tag is there
// before everything is, and then everything is there.
func TestCopyKilled(t *testing.T) {
	s := pushSigned(t, distribution(t), 1000, "cosign", "cosign3")
	before := closure(t, s.ref, s.dgst)
	to, err := fault.Start(distribution(t), "")
	require.NoError(t, err)
	defer to.Close()
	kills, tagged := 0, 0
	for n := int32(1); ; n += 5 {
		ref := to.Addr + "/app:1.0"
		if !killAt(t, s.dir, to, n, "copy", "-q", "--key", "release.pub", s.ref, ref) {
			break
		}
		kills++
		if run(t, s.dir, "crane", "digest", "--insecure", ref).code == 0 {
			tagged++
			requireSame(t, before, closure(t, ref, s.dgst))
		}
	}
	require.Greater(t, kills, 5+tagged)
	requireSame(t, before, closure(t, to.Addr+"/app:1.0", s.dgst))
	s.requireVerified(t, to.Addr+"/app:1.0")
}

// A save is killed at every few requests: the file is as before or whole, and the
// next one leaves nothing of those that were killed.
func TestSaveKilled(t *testing.T) {
	old := distribution(t)
	s := pushSigned(t, old, 1000, "cosign", "cosign3")
	from, err := fault.Start(old, "")
	require.NoError(t, err)
	defer from.Close()
	ref := strings.Replace(s.ref, old, from.Addr, 1)
	dir := filepath.Join(s.dir, "saved")
	require.NoError(t, os.Mkdir(dir, 0o755))
	path := filepath.Join(dir, "app.oci.tar")
	kills := 0
	for n := int32(1); killAt(t, s.dir, from, n, "save", "-q", ref, "-o", path); n += 5 {
		kills++
		require.NoFileExists(t, path)
	}
	require.Greater(t, kills, 3)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "what killed ones left is gone")
	a, err := transfer.OpenArchive(t.Context(), path)
	require.NoError(t, err)
	defer a.Close()
	top, _, err := a.Resolve("")
	require.NoError(t, err)
	require.Equal(t, s.dgst, top.Digest)
}
