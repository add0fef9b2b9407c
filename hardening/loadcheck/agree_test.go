package loadcheck

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/temper-images/temper/hardening/linkage"
	"github.com/temper-images/temper/hardening/linkage/linkagetest"
	"github.com/temper-images/temper/hardening/rootfs"
)

// linkageFS shows a tree to package linkage.
type linkageFS struct{ *rootfs.Tree }

func (fs linkageFS) Resolve(p string) (string, []string, error) {
	res, err := fs.Tree.Resolve(p)
	if err != nil {
		return "", nil, err
	}
	return res.Entry.Path, res.Links, nil
}

func (fs linkageFS) ReadDir(p string) ([]string, error) {
	var names []string
	for _, e := range fs.Children(p) {
		names = append(names, e.Name())
	}
	return names, nil
}

// TestAgreesWithLinkage compares the link maps of the two implementations, for
// every ELF file of this machine's Debian. What linkage finds is what ldd
// prints, as its own test shows; so this package's loader is as true.
func TestAgreesWithLinkage(t *testing.T) {
	root, err := os.OpenRoot(linkagetest.HostRoot(t))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	s, err := open(t.Context(), root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.readAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	objects := map[string]*linkage.Object{}
	for p := range s.objects {
		f, err := s.tree.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		e, _ := s.tree.Lookup(p)
		o, err := linkage.Parse(f, e.Size)
		f.Close()
		if err != nil {
			t.Errorf("%s: only linkage says %v", p, err)
			continue
		}
		objects[p] = o
	}
	r, err := linkage.New(t.Context(), linkageFS{s.tree}, objects, linkage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	v := &verifier{after: s}
	v.suppose(sortedFiles(s))
	var compared int
	for _, root := range sortedFiles(s) {
		if !root.object.started() && !root.object.loadable() {
			continue
		}
		p := s.start(root, v.interpOf(root.object), false)
		if len(p.lacks) > 0 && p.lacks[0].kind == lackInterpreter {
			continue // without it nothing is looked for
		}
		got := map[string]bool{}
		for _, m := range p.maps[1:] {
			got[m.path] = true
		}
		for _, l := range p.lacks {
			if l.kind == lackLibrary && l.how == no {
				got[l.name] = true
			}
		}
		loaded, err := r.Load(root.path)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{}
		for _, l := range loaded {
			if want[l.Path] = true; l.Path == "" {
				delete(want, l.Path)
				want[l.Name] = true
			}
		}
		// Here the loader is in memory before anything asks for it, there when it
		// is asked for.
		if f := p.loader.file; f != nil {
			delete(got, f.path)
			delete(want, f.path)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-linkage +loadcheck):\n%s", root.path, diff)
		}
		compared++
	}
	if compared < 1000 {
		t.Errorf("only %d ELF files", compared)
	}
	t.Logf("%d ELF files agree", compared)
}

// BenchmarkVerify verifies this machine's Debian against itself.
func BenchmarkVerify(b *testing.B) {
	root, err := os.OpenRoot(linkagetest.HostRoot(b))
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	var examined int
	for b.Loop() {
		check, _, err := Verify(b.Context(), Options{Before: root, After: root})
		if err != nil || !check.Passed {
			b.Fatal(check.Violations, err)
		}
		examined = check.Examined
	}
	b.ReportMetric(float64(examined), "files")
}
