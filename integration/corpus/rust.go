package corpus

import (
	"net/http"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/container"
)

func init() {
	register(App{Name: "rust", Bases: []string{"debian:bookworm", "debian:bookworm-slim"}, Works: rustWorks, Others: rustOthers})
}

func rustWorks(i *Instance) {
	i.Start(Process{})
	requirePage(i, "2", page("/count/fox"))
}

// rustOthers: a name to resolve, many clients at once, a thread that panics with a
// backtrace, an absent page, a changed data file, a read-only root filesystem.
func rustOthers(i *Instance) {
	i.Start(Process{
		Env: []string{"RUST_BACKTRACE=full", "GREETING=héllo"}, ReadOnly: true,
		Mounts: []container.Mount{ReadOnly(i.File("words.txt", "un deux trois\ndeux\n"), "/usr/share/counter/words.txt")},
	})
	requirePage(i, "via localhost: 2", page("/via/localhost/deux"))
	var all sync.WaitGroup
	bodies := make([]string, 32)
	for n := range bodies {
		all.Go(func() {
			_, bodies[n] = i.Get(page("/count/un"))
		})
	}
	all.Wait()
	for _, body := range bodies {
		require.Equal(i, "1", body)
	}
	requireError(i, "a thread panicked", page("/panic"))
	requirePage(i, "héllo", page("/env/GREETING"))
	status, body := i.Get(page("/via/nowhere.example.test/fox"))
	require.Equal(i, http.StatusBadGateway, status)
	require.Contains(i, body, "failed to lookup address information")
	status, _ = i.Get(page("/absent"))
	require.Equal(i, http.StatusNotFound, status)
	require.Contains(i, i.Stop(), "core::panicking")
}
