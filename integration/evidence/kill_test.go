package evidence

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/evidence"
	"github.com/temper-images/temper/integration/fault"
	"github.com/temper-images/temper/integration/objectstore"
)

// storeURL has this program store documents instead of testing, so that it can be
// killed in the middle.
const storeURL = "TEMPER_TEST_STORE"

func storeAndExit() int {
	ctx := context.Background()
	s, err := evidence.Open(ctx, os.Getenv(storeURL), evidence.Options{})
	if err == nil {
		_, err = s.Put(ctx, image("app"), documents(12, 300_000))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// A process that is killed in the middle of storing leaves nothing that counts;
// the next run completes it, and sends only what is missing.
func TestProcessKilledInTheMiddle(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	for _, kind := range []objectstore.Kind{objectstore.S3, objectstore.GCS, objectstore.Azure} {
		for _, after := range []int64{1, 7, 20, 24} {
			t.Run(fmt.Sprintf("%s/after %d", kind, after), func(t *testing.T) {
				p := newPlace(t, kind)
				cmd := exec.CommandContext(t.Context(), self)
				cmd.Env = append(os.Environ(), storeURL+"="+p.url)
				var puts atomic.Int64
				p.proxy.Set(func(r *http.Request) fault.Fault {
					if isWrite(r) && puts.Add(1) == after {
						return func(http.ResponseWriter, *http.Request, http.Handler) {
							_ = cmd.Process.Kill()
							panic(http.ErrAbortHandler)
						}
					}
					return nil
				})
				require.Error(t, cmd.Run())
				p.proxy.Set(nil)
				s := p.open(t, evidence.Options{})
				requireNothing(t, s, image("app"))
				r, err := s.Put(t.Context(), image("app"), documents(12, 300_000))
				require.NoError(t, err)
				require.Equal(t, 24, r.Sent+r.Present)
				if after > 10 {
					require.Positive(t, r.Present, "what the first run stored is not sent again")
				}
				requireComplete(t, s, image("app"), 12)
			})
		}
	}
}

// isWrite says whether a request creates an object, in any of the protocols.
func isWrite(r *http.Request) bool {
	return r.Method == http.MethodPut || r.Method == http.MethodPost
}
