package linkage

import (
	"context"
	"debug/elf"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/temper-images/temper/hardening/linkage/linkagetest"
)

// rootFS is a root filesystem in a directory.
type rootFS struct {
	dir string
	// entries are symbolic links' targets, and "" for what is there and none.
	entries map[string]string
	names   map[string][]string
	elf     []string // regular files that start as ELF files do
}

func readRoot(tb testing.TB, dir string) *rootFS {
	tb.Helper()
	r := &rootFS{dir: dir, entries: map[string]string{}, names: map[string][]string{}}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := path.Join("/", strings.TrimPrefix(p, dir))
		r.names[path.Dir(name)] = append(r.names[path.Dir(name)], e.Name())
		r.entries[name] = ""
		if e.Type() == fs.ModeSymlink {
			r.entries[name], err = os.Readlink(p)
		} else if e.Type().IsRegular() {
			if head := readHead(p); string(head) == elf.ELFMAG {
				r.elf = append(r.elf, name)
			}
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func readHead(p string) []byte {
	f, err := os.Open(p)
	if err != nil {
		return nil
	}
	defer f.Close()
	head := make([]byte, len(elf.ELFMAG))
	n, _ := f.Read(head)
	return head[:n]
}

func (r *rootFS) Resolve(p string) (string, []string, error) {
	return lstat(func(p string) (string, error) {
		link, ok := r.entries[p]
		if !ok {
			return "", fs.ErrNotExist
		}
		return link, nil
	}).resolve(p)
}

func (r *rootFS) ReadFile(p string, limit int64) ([]byte, error) {
	dt, err := os.ReadFile(filepath.Join(r.dir, p))
	if err == nil && int64(len(dt)) > limit {
		err = errors.New("too large")
	}
	return dt, err
}

func (r *rootFS) ReadDir(p string) ([]string, error) { return r.names[p], nil }

// closures parses every ELF file, resolves it and follows what it is loaded with.
func (r *rootFS) closures(ctx context.Context) (map[string][]Loaded, map[string]*Object, error) {
	objects := map[string]*Object{}
	for _, p := range r.elf {
		// A malformed file has nothing to be loaded with.
		if o, err := parseFile(filepath.Join(r.dir, p)); err == nil && o.Kind != Other {
			objects[p] = o
		}
	}
	res, err := New(ctx, r, objects, Options{})
	if err != nil {
		return nil, nil, err
	}
	all := make(map[string][]Loaded, len(objects))
	for _, p := range sortedKeys(objects) {
		if all[p], err = res.Load(p); err != nil {
			return nil, nil, err
		}
	}
	return all, objects, nil
}

// TestLdd compares, for every ELF file of this machine's Debian, what it is loaded
// with, with what ldd prints, and what both take. Each difference is one of
// those that lddDiffers explains, or an error.
func TestLdd(t *testing.T) {
	root := readRoot(t, linkagetest.HostRoot(t))
	start := cpuTime(t, syscall.RUSAGE_SELF)
	closures, objects, err := root.closures(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	took := cpuTime(t, syscall.RUSAGE_SELF) - start
	if len(objects) < 1000 {
		t.Fatalf("only %d ELF files", len(objects))
	}
	var asked int
	lddTook := -cpuTime(t, syscall.RUSAGE_CHILDREN)
	explained := map[string]int{}
	for _, p := range sortedKeys(objects) {
		if why := lddDiffers(objects[p]); why != "" {
			explained[why]++
			continue
		}
		want := linkagetest.Ldd(t.Context(), root.dir, p)
		asked++
		got := map[string]string{}
		for _, l := range closures[p] {
			got[l.Name] = l.Path
		}
		root.comparable(want)
		root.comparable(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-ldd +Load):\n%s", p, diff)
		}
	}
	lddTook += cpuTime(t, syscall.RUSAGE_CHILDREN)
	perFile := lddTook / time.Duration(asked)
	ratio := float64(perFile*time.Duration(len(objects))) / float64(took)
	t.Logf("%d ELF files in %v; ldd took %v for each of %d: %.0f times as long; not asked: %v", len(objects), took, perFile, asked, ratio, explained)
	if ratio < 50 {
		t.Errorf("ldd takes only %.0f times as long", ratio)
	}
}

// comparable makes two lists alike in what is no difference: a file may go by any
// of the paths that lead to it; of a name that is a path, ldd prints what its
// tokens stand for; and the loader names itself by the path of PT_INTERP, or not at
// all when nothing else asks for it.
func (r *rootFS) comparable(loaded map[string]string) {
	for name, file := range maps.Clone(loaded) {
		delete(loaded, name)
		if canonical, _, err := r.Resolve(file); err == nil && file != "" {
			file = canonical
		}
		switch {
		case strings.HasPrefix(path.Base(name), "ld-linux"):
		case strings.Contains(name, "/") && file != "":
			loaded[file] = file
		default:
			loaded[name] = file
		}
	}
}

// cpuTime returns the processor time that was spent so far, which other work on the
// machine changes little.
func cpuTime(tb testing.TB, whose int) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(whose, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// lddDiffers says why ldd has no answer for a file, or none to compare.
func lddDiffers(o *Object) string {
	switch {
	case o.Static():
		return "static programs, for which there is no loader"
	case o.ABI != nativeABI():
		return "files for other architectures, which this machine's loader refuses"
	case len(o.Needed) == 0:
		return "files that need nothing, which ldd calls statically linked"
	}
	return ""
}

func nativeABI() ABI {
	o, err := parseFile("/proc/self/exe")
	if err != nil {
		panic(err)
	}
	return o.ABI
}

// BenchmarkClosure finds what every ELF file of this machine's Debian is loaded
// with, and sets it beside a loop over ldd.
func BenchmarkClosure(b *testing.B) {
	root := readRoot(b, linkagetest.HostRoot(b))
	var objects map[string]*Object
	took := -cpuTime(b, syscall.RUSAGE_SELF)
	for b.Loop() {
		var err error
		if _, objects, err = root.closures(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	took = (took + cpuTime(b, syscall.RUSAGE_SELF)) / time.Duration(b.N)
	// A sample is enough: ldd takes the same time whatever else there is.
	const sample = 100
	var asked int
	ldd := -cpuTime(b, syscall.RUSAGE_CHILDREN)
	for i, p := range sortedKeys(objects) {
		if lddDiffers(objects[p]) == "" && i%(len(objects)/sample) == 0 {
			linkagetest.Ldd(b.Context(), root.dir, p)
			asked++
		}
	}
	ldd = (ldd + cpuTime(b, syscall.RUSAGE_CHILDREN)) / time.Duration(asked) * time.Duration(len(objects))
	b.ReportMetric(float64(len(objects)), "files")
	b.ReportMetric(took.Seconds(), "closure-cpu-s")
	b.ReportMetric(ldd.Seconds(), "ldd-cpu-s")
	b.ReportMetric(float64(ldd)/float64(took), "ldd/closure")
}
