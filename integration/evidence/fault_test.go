package evidence

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/evidence"
	"github.com/temper-images/temper/integration/fault"
	"github.com/temper-images/temper/integration/objectstore"
)

// ownServer starts a server that a test may kill.
func ownServer(t *testing.T, kind objectstore.Kind, dir string) *objectstore.Server {
	t.Helper()
	s, err := objectstore.Start(t.Context(), kind, dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Kill()) })
	return s
}

// A server that is killed in the middle of an upload and comes back is waited for.
// The Azure server is left out: it keeps what it was given in memory for seconds.
func TestServerKilledAndBack(t *testing.T) {
	for _, kind := range []objectstore.Kind{objectstore.S3, objectstore.GCS} {
		t.Run(string(kind), func(t *testing.T) {
			server := ownServer(t, kind, t.TempDir())
			p := behindProxy(t, server)
			var writes atomic.Int64
			back := make(chan error, 1)
			p.proxy.Set(func(r *http.Request) fault.Fault {
				if !isWrite(r) || writes.Add(1) != 6 {
					return nil
				}
				return func(_ http.ResponseWriter, _ *http.Request, _ http.Handler) {
					kerr := server.Kill()
					go func() {
						time.Sleep(500 * time.Millisecond)
						back <- errors.Join(kerr, server.Restart(context.Background()))
					}()
					panic(http.ErrAbortHandler)
				}
			})
			var retries atomic.Int64
			s := p.open(t, evidence.Options{Progress: func(e evidence.Event) {
				if e.State == evidence.Retry {
					retries.Add(1)
				}
			}})
			_, err := s.Put(t.Context(), image("app"), documents(8, 200_000))
			require.NoError(t, err)
			require.NoError(t, <-back)
			require.Positive(t, retries.Load())
			requireComplete(t, s, image("app"), 8)
		})
	}
}

// A server that does not come back is told so; what it has does not count, and is
// not sent again when it is back.
func TestServerKilledForGood(t *testing.T) {
	server := ownServer(t, objectstore.S3, t.TempDir())
	p := behindProxy(t, server)
	var writes atomic.Int64
	p.proxy.Set(func(r *http.Request) fault.Fault {
		if isWrite(r) && writes.Add(1) == 9 {
			return func(http.ResponseWriter, *http.Request, http.Handler) {
				_ = server.Kill()
				panic(http.ErrAbortHandler)
			}
		}
		return nil
	})
	_, err := p.open(t, evidence.Options{Patience: time.Second, Concurrency: 2}).Put(t.Context(), image("app"), documents(8, 200_000))
	requireReason(t, err, evidence.Unreachable)
	require.ErrorContains(t, err, "the store does not answer")
	require.ErrorContains(t, err, "what is stored already is not sent again")

	require.NoError(t, server.Restart(t.Context()))
	p.proxy.Set(nil)
	s := p.open(t, evidence.Options{})
	requireNothing(t, s, image("app"))
	r, err := s.Put(t.Context(), image("app"), documents(8, 200_000))
	require.NoError(t, err)
	require.Positive(t, r.Present)
	requireComplete(t, s, image("app"), 8)
}

// busy is how each store says that it is asked too much.
var busy = map[objectstore.Kind]func(wait string) fault.Fault{
	objectstore.S3: func(wait string) fault.Fault {
		return fault.Reply(http.StatusServiceUnavailable, http.Header{"Retry-After": {wait}, "Content-Type": {"application/xml"}},
			`<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`)
	},
	objectstore.GCS: func(wait string) fault.Fault {
		return fault.Reply(http.StatusTooManyRequests, http.Header{"Retry-After": {wait}, "Content-Type": {"application/json"}},
			`{"error":{"code":429,"message":"rate limit","errors":[{"reason":"rateLimitExceeded"}]}}`)
	},
	objectstore.Azure: func(wait string) fault.Fault {
		return fault.Reply(http.StatusServiceUnavailable, http.Header{"Retry-After": {wait}, "X-Ms-Error-Code": {"ServerBusy"}, "Content-Type": {"application/xml"}},
			`<?xml version="1.0" encoding="utf-8"?><Error><Code>ServerBusy</Code><Message>The server is busy.</Message></Error>`)
	},
}

// A storm passes, and the store says how long to wait meanwhile.
func TestStorm(t *testing.T) {
	for kind, reply := range busy {
		t.Run(string(kind), func(t *testing.T) {
			p := newPlace(t, kind)
			var n atomic.Int64
			p.proxy.Set(func(*http.Request) fault.Fault {
				if n.Add(1) <= 20 {
					return reply("1")
				}
				return nil
			})
			var mu sync.Mutex
			var waits []time.Duration
			s := p.open(t, evidence.Options{Progress: func(e evidence.Event) {
				mu.Lock()
				defer mu.Unlock()
				if e.State == evidence.Retry {
					waits = append(waits, e.Wait)
				}
			}})
			_, err := s.Put(t.Context(), image("app"), documents(4, 1000))
			require.NoError(t, err)
			require.Len(t, waits, 20)
			for _, w := range waits {
				require.Equal(t, time.Second, w)
			}
			requireComplete(t, s, image("app"), 4)
		})
	}
}

func TestStormThatStays(t *testing.T) {
	for kind, reply := range busy {
		t.Run(string(kind), func(t *testing.T) {
			p := newPlace(t, kind)
			s := p.open(t, evidence.Options{Patience: 700 * time.Millisecond})
			p.proxy.Set(func(r *http.Request) fault.Fault {
				if isWrite(r) {
					return reply("")
				}
				return nil
			})
			_, err := s.Put(t.Context(), image("app"), documents(4, 1000))
			requireReason(t, err, evidence.Unreachable)
			// Longer than our patience is not waited for.
			p.proxy.Set(func(*http.Request) fault.Fault { return reply("3600") })
			_, err = s.Put(t.Context(), image("app"), documents(4, 1000))
			requireReason(t, err, evidence.Unreachable)
			require.ErrorContains(t, err, "the store asks to wait 1h0m0s")
			p.proxy.Set(nil)
			requireNothing(t, s, image("app"))
		})
	}
}

// A disk that is full under a real server, and under a folder.
func TestFullDisk(t *testing.T) {
	mount := func(t *testing.T) string {
		dir := filepath.Join(t.TempDir(), "small")
		require.NoError(t, os.Mkdir(dir, 0o755))
		out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", dir).CombinedOutput()
		require.NoError(t, err, "%s", out)
		t.Cleanup(func() {
			out, err := exec.CommandContext(context.Background(), "umount", "-l", dir).CombinedOutput()
			require.NoError(t, err, "%s", out)
		})
		return dir
	}
	t.Run("folder", func(t *testing.T) {
		dir := mount(t)
		p := place{kind: folder, url: filepath.Join(dir, "evidence")}
		s := p.open(t, evidence.Options{Concurrency: 2})
		_, err := s.Put(t.Context(), image("app"), documents(8, 1<<20))
		requireReason(t, err, evidence.Full)
		require.ErrorContains(t, err, "make room and run this again")
		requireNothing(t, s, image("app"))
		out, err := exec.CommandContext(t.Context(), "mount", "-o", "remount,size=30m", dir).CombinedOutput()
		require.NoError(t, err, "%s", out)
		r, err := s.Put(t.Context(), image("app"), documents(8, 1<<20))
		require.NoError(t, err)
		require.Positive(t, r.Present)
		requireComplete(t, s, image("app"), 8)
	})
	t.Run("s3", func(t *testing.T) {
		dir := mount(t)
		p := behindProxy(t, ownServer(t, objectstore.S3, dir))
		s := p.open(t, evidence.Options{Concurrency: 2, Patience: 2 * time.Second})
		_, err := s.Put(t.Context(), image("app"), documents(8, 1<<20))
		// The server calls a full disk an error of its own.
		t.Log(err)
		var e *evidence.Error
		require.ErrorAs(t, err, &e)
		require.Contains(t, []evidence.Reason{evidence.Full, evidence.Unreachable}, e.Reason)
		requireNothing(t, s, image("app"))
		out, err := exec.CommandContext(t.Context(), "mount", "-o", "remount,size=30m", dir).CombinedOutput()
		require.NoError(t, err, "%s", out)
		_, err = s.Put(t.Context(), image("app"), documents(8, 1<<20))
		require.NoError(t, err)
		requireComplete(t, s, image("app"), 8)
	})
}

// A quota that is used up is told at once, in each store's words.
func TestQuota(t *testing.T) {
	xml := http.Header{"Content-Type": {"application/xml"}}
	for name, tt := range map[string]struct {
		kind  objectstore.Kind
		reply fault.Fault
	}{
		"minio bucket quota": {objectstore.S3, fault.Reply(400, xml, `<Error><Code>XMinioAdminBucketQuotaExceeded</Code><Message>Bucket quota exceeded</Message></Error>`)},
		"minio disk":         {objectstore.S3, fault.Reply(507, xml, `<Error><Code>XMinioStorageFull</Code><Message>Storage backend has reached its minimum free drive threshold.</Message></Error>`)},
		"ceph quota":         {objectstore.S3, fault.Reply(403, xml, `<Error><Code>QuotaExceeded</Code></Error>`)},
		"no code":            {objectstore.S3, fault.Reply(507, nil, "")},
		"gcs":                {objectstore.GCS, fault.Reply(413, nil, `{"error":{"code":413,"errors":[{"reason":"storageQuotaExceeded"}]}}`)},
		"azure":              {objectstore.Azure, fault.Reply(409, http.Header{"X-Ms-Error-Code": {"AccountLimitExceeded"}}, "")},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, tt.kind)
			s := p.open(t, evidence.Options{})
			var writes atomic.Int64
			p.proxy.Set(func(r *http.Request) fault.Fault {
				if isWrite(r) && writes.Add(1) > 2 {
					return tt.reply
				}
				return nil
			})
			_, err := s.Put(t.Context(), image("app"), documents(8, 1000))
			requireReason(t, err, evidence.Full)
			p.proxy.Set(nil)
			requireNothing(t, s, image("app"))
		})
	}
}

// Answers that are lost or cut off, connections that break, bits that flip.
func TestBrokenConnections(t *testing.T) {
	for _, kind := range kinds[:3] {
		for name, tt := range map[string]struct {
			applies func(*http.Request) bool
			fault   fault.Fault
		}{
			"hangs up in an upload":    {isWrite, fault.HangUp(50_000)},
			"loses an upload's answer": {isWrite, fault.LoseAnswer},
			"cuts a download":          {func(r *http.Request) bool { return r.Method == http.MethodGet }, fault.CutAnswer},
			"gateway fails":            {isWrite, fault.Reply(http.StatusBadGateway, nil, "<html>bad gateway</html>")},
		} {
			t.Run(string(kind)+"/"+name, func(t *testing.T) {
				p := newPlace(t, kind)
				var n atomic.Int64
				p.proxy.Set(func(r *http.Request) fault.Fault {
					if tt.applies(r) && n.Add(1)%3 == 0 {
						return tt.fault
					}
					return nil
				})
				s := p.open(t, evidence.Options{})
				_, err := s.Put(t.Context(), image("app"), documents(4, 200_000))
				require.NoError(t, err)
				p.proxy.Set(nil)
				requireComplete(t, s, image("app"), 4)
			})
		}
	}
}

// What changes on its way is refused by the store or found when it is read back.
func TestFlippedBits(t *testing.T) {
	for _, kind := range kinds[:3] {
		t.Run(string(kind), func(t *testing.T) {
			p := newPlace(t, kind)
			var n atomic.Int64
			p.proxy.Set(func(r *http.Request) fault.Fault {
				if isWrite(r) && n.Add(1) == 2 {
					return fault.Flip
				}
				return nil
			})
			s := p.open(t, evidence.Options{Concurrency: 1})
			_, err := s.Put(t.Context(), image("app"), documents(3, 100_000))
			if err != nil {
				requireReason(t, err, evidence.Damaged)
				requireNothing(t, s, image("app"))
				_, err = s.Put(t.Context(), image("app"), documents(3, 100_000))
				require.NoError(t, err)
			}
			v, err := s.Verify(t.Context(), image("app").Digest, evidence.VerifyOptions{Verifier: byDigest{}})
			require.NoError(t, err)
			require.NoError(t, v.Err())
			require.Equal(t, 3, v.Signatures)
		})
	}
}

// Whoever waits for a store that does not answer can give up.
func TestSlowServerAndCancellation(t *testing.T) {
	for _, kind := range kinds[:3] {
		t.Run(string(kind), func(t *testing.T) {
			p := newPlace(t, kind)
			reached := make(chan struct{}, 100)
			p.proxy.Set(func(r *http.Request) fault.Fault {
				if isWrite(r) {
					reached <- struct{}{}
					return fault.Wait(time.Hour)
				}
				return nil
			})
			why := errors.New("the user gave up")
			ctx, cancel := context.WithCancelCause(t.Context())
			s := p.open(t, evidence.Options{})
			done := make(chan error, 1)
			go func() {
				_, err := s.Put(ctx, image("app"), documents(4, 1000))
				done <- err
			}()
			<-reached
			cancel(why)
			select {
			case err := <-done:
				require.ErrorIs(t, err, why)
			case <-time.After(10 * time.Second):
				t.Fatal("cancellation is not obeyed")
			}
			p.proxy.Set(nil)
			requireNothing(t, s, image("app"))
		})
	}
}
