package packages

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRelate(t *testing.T) {
	pkgs := []*Package{
		{Type: TypeRPM, Name: "server", Depends: [][]string{{"libx"}, {"mta", "other"}, {"/bin/sh"}, {"absent"}}, Recommends: [][]string{{"docs"}}},
		{Type: TypeRPM, Name: "libx", Provides: []string{"libx", "libx.so"}},
		{Type: TypeRPM, Name: "postfix", Provides: []string{"mta"}},
		{Type: TypeRPM, Name: "exim", Provides: []string{"mta"}},
		{Type: TypeDeb, Name: "docs"},
		{Type: TypeRPM, Name: "bash", Depends: [][]string{{"/bin/sh"}}},
	}
	r := Relate(pkgs, func(path string) []int32 {
		if path == "/bin/sh" {
			return []int32{5}
		}
		return nil
	})
	got := map[string][]string{}
	for i, pkg := range pkgs {
		for _, id := range append(r.Depends[i], r.Recommends[i]...) {
			for _, p := range r.Providers[id] {
				got[pkg.Name] = append(got[pkg.Name], pkgs[p].Name)
			}
		}
	}
	// A package of another type is none that is asked for.
	want := map[string][]string{"server": {"libx", "postfix", "exim", "bash"}, "bash": {"bash"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for i, pkg := range pkgs {
		for _, id := range r.Provides[i] {
			if !cmp.Equal(r.Providers[id][0], int32(i)) && pkg.Name != "exim" {
				t.Errorf("%s does not have the capability %d that it provides", pkg.Name, id)
			}
		}
	}
}

func TestManual(t *testing.T) {
	for _, c := range []struct {
		name         string
		pkg          Package
		base, manual bool
	}{
		{"asked for", Package{Type: TypeDeb, Priority: "optional", Section: "web"}, false, true},
		{"came along", Package{Type: TypeDeb, Priority: "optional", Section: "web", Auto: true}, false, false},
		{"a library", Package{Type: TypeDeb, Priority: "optional", Section: "libs"}, false, false},
		{"required", Package{Type: TypeDeb, Priority: "required"}, true, false},
		{"essential", Package{Type: TypeDeb, Essential: true}, true, false},
		{"apk in world", Package{Type: TypeApk}, false, true},
		{"apk", Package{Type: TypeApk, Auto: true}, false, false},
		{"rpm does not tell", Package{Type: TypeRPM}, false, false},
	} {
		if c.pkg.Base() != c.base || c.pkg.Manual() != c.manual {
			t.Errorf("%s: base %v, manual %v", c.name, c.pkg.Base(), c.pkg.Manual())
		}
	}
}
