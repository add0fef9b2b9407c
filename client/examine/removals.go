package examine

import (
	"path"

	"github.com/temper-images/temper/hardening/spec"
)

// Removals finds out by which group of a hardening report a path went. Nil has
// none.
type Removals struct {
	report *spec.Report
	groups map[string]int
}

// NewRemovals indexes a report, which may be nil.
func NewRemovals(r *spec.Report) *Removals {
	if r == nil {
		return nil
	}
	out := &Removals{report: r, groups: map[string]int{}}
	for i, g := range r.Removed {
		for _, p := range g.Paths {
			if _, twice := out.groups[p]; !twice {
				out.groups[p] = i
			}
		}
	}
	return out
}

// Find returns the group with which a clean, absolute path went. Below is the
// directory, with a trailing slash, that went as a whole with all in it; it is empty
// when the report names the path itself.
func (r *Removals) Find(name string) (g *spec.Group, below string, ok bool) {
	if r == nil {
		return nil, "", false
	}
	for _, p := range []string{name, name + "/"} {
		if i, ok := r.groups[p]; ok {
			return &r.report.Removed[i], "", true
		}
	}
	for dir := path.Dir(name); dir != "/" && dir != "."; dir = path.Dir(dir) {
		if i, ok := r.groups[dir+"/"]; ok {
			return &r.report.Removed[i], dir + "/", true
		}
	}
	return nil, "", false
}

// Paths are all that the report names as removed, as it names them.
func (r *Removals) Paths() []string {
	if r == nil {
		return nil
	}
	var out []string
	for _, g := range r.report.Removed {
		out = append(out, g.Paths...)
	}
	return out
}
