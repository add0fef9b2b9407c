package publish

import (
	"bytes"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/integration/fault"
)

// one is an attestation.
var one = map[string]string{provenanceType: predicates[provenanceType]}

// moment is when a process is killed: with its nth request, before the registry
// gets it or after the registry answered.
type moment struct {
	n     int
	after bool
}

func (m moment) String() string {
	if m.after {
		return fmt.Sprintf("%d-after", m.n)
	}
	return fmt.Sprintf("%d-before", m.n)
}

// A release that is killed at any of its requests is run again, and ends as if it
// had not been: complete, with one signature and each attestation once. Nothing
// unsigned is visible meanwhile, and nothing that was there is replaced.
func TestKilledAtEveryRequest(t *testing.T) {
	for _, start := range []func(*testing.T) server{dockerRegistry, listing} {
		s := start(t)
		t.Run(s.name, func(t *testing.T) {
			private, key := newKey(t)
			rec := record(t, s, Rules{Key: key})
			// What an index has more of is more of the same.
			img, err := NewImage(t.TempDir(), "killed", !s.lists, "amd64")
			require.NoError(t, err)
			release := func(host, repository string) *Release {
				return &Release{Image: img, Tags: []string{host + "/" + repository + ":1"}, Key: private, Attest: one, Retry: impatient,
					Journal: filepath.Join(t.TempDir(), "journal")}
			}
			run(t, command(t, release(inFront(t, rec).Addr, "kill/never")))
			requests := len(rec.Exchanges())
			var moments []moment
			for n := 1; n <= requests; n++ {
				moments = append(moments, moment{n, true})
				if n%4 == 1 {
					// To the registry this is as after the one before; the client knows more.
					moments = append(moments, moment{n, false})
				}
			}

			var group errgroup.Group
			group.SetLimit(3)
			var mu sync.Mutex
			killed := 0
			for _, m := range moments {
				p := inFront(t, rec)
				r := release(p.Addr, "kill/"+m.String())
				first, again := command(t, r), command(t, r)
				group.Go(func() error {
					w := Watch(t.Context(), rec.Addr, "kill/"+m.String(), key, false)
					w.Expect(img.All...)
					died := kill(p, m, first)
					out, err := again.CombinedOutput()
					w.Look(1)
					report := w.Stop()
					if err != nil {
						return fmt.Errorf("killed %s and run again: %w: %s", m, err, out)
					}
					if report.Err != nil || len(report.Broken) > 0 || report.Seen != 1+len(img.All) {
						return fmt.Errorf("killed %s: the watcher saw %+v", m, report)
					}
					mu.Lock()
					defer mu.Unlock()
					if died {
						killed++
					}
					return nil
				})
			}
			require.NoError(t, group.Wait())
			// What runs side by side in a release makes a request more or less at times.
			require.Greater(t, killed, len(moments)*9/10)
			t.Logf("killed %d times at %d requests", killed, requests)
			for _, m := range moments {
				requireOnce(t, Read(t.Context(), s.host, "kill/"+m.String()), key, img, "1", len(one))
			}
		})
	}
}

// inFront is a proxy before the recorder, for one client.
func inFront(t *testing.T, rec *Recorder) *fault.Proxy {
	t.Helper()
	p, err := fault.Start(rec.Addr, "")
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close() }) // it dies with this process
	return p
}

// kill runs a command whose requests go through p, and kills it at m. It says
// whether the command lived to see that.
func kill(p *fault.Proxy, m moment, cmd *exec.Cmd) bool {
	n, died := 0, make(chan struct{})
	var once sync.Once
	end := func() {
		once.Do(func() {
			_ = cmd.Process.Kill() // it is gone if this fails
			close(died)
		})
		panic(http.ErrAbortHandler)
	}
	p.Set(func(*http.Request) fault.Fault {
		n++
		switch {
		case n < m.n:
			return nil
		case n > m.n || !m.after:
			return func(http.ResponseWriter, *http.Request, http.Handler) { end() }
		}
		return func(_ http.ResponseWriter, r *http.Request, forward http.Handler) {
			forward.ServeHTTP(&answer{header: http.Header{}}, r)
			end()
		}
	})
	_ = cmd.Run() // it is killed
	p.Set(nil)
	select {
	case <-died:
		return true
	default:
		return false
	}
}

// run runs a command that has to succeed.
func run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Run(), "%s", &out)
	return out.String()
}
