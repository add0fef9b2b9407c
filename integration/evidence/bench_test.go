package evidence

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/evidence"
)

// BenchmarkPut stores 12 documents of 3 MB, with a signature each, in a server
// without anything in between; and what that costs when they are there.
func BenchmarkPut(b *testing.B) {
	docs := documents(12, 3<<20)
	for _, kind := range kinds {
		for _, again := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/again=%v", kind, again), func(b *testing.B) {
				location := filepath.Join(b.TempDir(), "evidence")
				if kind != folder {
					server := servers[kind]
					for name, value := range server.Env(server.Addr) {
						b.Setenv(name, value)
					}
					location = server.URL(server.Addr)
				}
				s, err := evidence.Open(b.Context(), location, evidence.Options{})
				require.NoError(b, err)
				defer s.Close()
				started := time.Now().UnixNano()
				_, err = s.Put(b.Context(), image(fmt.Sprintf("bench-%d-0", started)), docs)
				require.NoError(b, err)
				b.SetBytes(12 * 3 << 20)
				n := 0
				for b.Loop() {
					if !again {
						n++
					}
					_, err := s.Put(b.Context(), image(fmt.Sprintf("bench-%d-%d", started, n)), docs)
					require.NoError(b, err)
				}
			})
		}
	}
}
