package hardening

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/temper-images/temper/hardening/linkage/linkagetest"
	"github.com/temper-images/temper/hardening/spec"
)

// BenchmarkPlan decides about root filesystems of ten thousand to a million
// entries: reading, the graph of packages, the closure, the plan and the report,
// all but the copy. Time and memory for an entry should stay the same.
func BenchmarkPlan(b *testing.B) {
	for _, level := range []spec.Level{spec.LevelExclusive, spec.LevelMinimal} {
		for _, n := range []int{10_000, 100_000, 1_000_000} {
			b.Run(fmt.Sprintf("%s/%d", level, n), func(b *testing.B) { benchmarkPlan(b, level, n) })
		}
	}
}

func benchmarkPlan(b *testing.B, level spec.Level, n int) {
	root, err := os.OpenRoot(syntheticRoot(b, n))
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	settings := spec.Settings{
		Level: level, Shell: spec.ShellKeep, User: spec.UserAuto, Installed: []string{"package0"},
		Image: spec.ImageConfig{Entrypoint: []string{"/usr/bin/program0"}, Env: []string{"PATH=/usr/bin"}},
	}
	var entries int
	var peak uint64
	for b.Loop() {
		stop := watchHeap()
		inv, err := plan1(b, root, settings)
		if err != nil {
			b.Fatal(err)
		}
		entries = len(inv.entries)
		peak = max(peak, stop())
	}
	if entries < n {
		b.Fatalf("%d entries, want %d", entries, n)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(entries), "µs/entry")
	b.ReportMetric(float64(peak)/float64(entries), "peak-B/entry")
	b.ReportMetric(0, "ns/op")
}

// plan1 does what Harden does before it writes.
func plan1(b *testing.B, root *os.Root, settings spec.Settings) (*inventory, error) {
	watch, err := watched(settings)
	if err != nil {
		return nil, err
	}
	inv, err := takeInventory(b.Context(), root, settings.Image, watch)
	if err != nil {
		return nil, err
	}
	if settings, err = inv.applyPresets(settings); err != nil {
		return nil, err
	}
	p, err := makePlan(b.Context(), inv, settings)
	if err != nil {
		return nil, err
	}
	runtime.KeepAlive(p.report(settings))
	return inv, nil
}

// watchHeap measures the most that lives on the heap, in bytes, until stop is
// called. What lived there before counts for nothing.
func watchHeap() (stop func() uint64) {
	debug.FreeOSMemory()
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	start, most := sample[0].Value.Uint64(), uint64(0)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			metrics.Read(sample)
			most = max(most, sample[0].Value.Uint64())
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	return func() uint64 {
		close(done)
		wg.Wait()
		return most - min(start, most)
	}
}

// syntheticRoot makes a root filesystem of n entries in packages of 200, a program
// and three libraries in each, which need others at random but always the same. It
// is of the shape of Debian: directories of a dozen entries, and two of every
// library and program.
func syntheticRoot(tb testing.TB, n int) string {
	tb.Helper()
	const interp, perPackage = "/lib64/ld-linux-x86-64.so.2", 200
	dir := tb.TempDir()
	made := map[string]bool{}
	write := func(p string, data []byte, mode os.FileMode) {
		p = filepath.Join(dir, p)
		if d := filepath.Dir(p); !made[d] {
			if err := os.MkdirAll(d, 0o755); err != nil {
				tb.Fatal(err)
			}
			made[d] = true
		}
		if err := os.WriteFile(p, data, mode); err != nil {
			tb.Fatal(err)
		}
	}
	write(interp, linkagetest.Image{Soname: "ld-linux-x86-64.so.2"}.Bytes(), 0o755)
	libraries := n / perPackage * 3
	lib := func(i int) string { return "lib" + strconv.Itoa(i%libraries) + ".so.1" }
	var status bytes.Buffer
	for pkg := range n / perPackage {
		name := "package" + strconv.Itoa(pkg)
		fmt.Fprintf(&status, "Package: %s\nStatus: install ok installed\nPriority: optional\nSection: misc\nArchitecture: amd64\nVersion: 1\nDepends: package%d, package%d\n\n",
			name, pkg/2, pkg/3)
		var list bytes.Buffer
		add := func(p string, data []byte, mode os.FileMode) {
			write(p, data, mode)
			fmt.Fprintln(&list, p)
		}
		add("/usr/bin/program"+strconv.Itoa(pkg), linkagetest.Image{Interp: interp, Needed: []string{lib(3 * pkg), lib(7*pkg + 1), lib(pkg / 2)}}.Bytes(), 0o755)
		for i := range 3 {
			at := 3*pkg + i
			add("/usr/lib/x86_64-linux-gnu/"+lib(at), linkagetest.Image{Soname: lib(at), Needed: []string{lib(at / 2), lib(at / 3)}}.Bytes(), 0o644)
		}
		add("/usr/share/doc/"+name+"/copyright", []byte("licence\n"), 0o644)
		for i := range perPackage - 20 {
			add(fmt.Sprintf("/usr/share/%s/d%d/file%d", name, i/12, i), []byte("data\n"), 0o644)
		}
		write("/var/lib/dpkg/info/"+name+".list", list.Bytes(), 0o644)
	}
	write("/var/lib/dpkg/status", status.Bytes(), 0o644)
	return dir
}
