package explain

import (
	"path"
	"slices"
	"strings"

	"github.com/temper-images/temper/client/examine"
	"github.com/temper-images/temper/client/imagefs"
	"github.com/temper-images/temper/hardening/spec"
)

// maxChain bounds a chain in steps. Real ones have seldom more than ten.
const maxChain = 200

// packagePrefix begins the name of a package where a reason's path may stand.
const packagePrefix = "package "

// reasonFor finds the reason of a path: its own, or that of the nearest directory
// above it which stands for all below it. Covered is that directory.
func (i *Image) reasonFor(p string) (r *spec.Reason, covered string) {
	for _, name := range []string{p, strings.TrimSuffix(p, "/") + "/"} {
		if r := i.reasons[name]; r != nil {
			return r, ""
		}
	}
	if strings.HasPrefix(p, packagePrefix) {
		return nil, ""
	}
	for dir := path.Dir(strings.TrimSuffix(p, "/")); dir != "/" && dir != "."; dir = path.Dir(dir) {
		if r := i.reasons[dir+"/"]; r != nil {
			return r, dir + "/"
		}
	}
	return nil, ""
}

// chain leads from a root to an entry. It is empty when the report has no reason.
func (i *Image) chain(e *imagefs.Entry) (steps []Step, covered string) {
	r, covered := i.reasonFor(e.Path)
	if r == nil && !e.Mode.IsDir() {
		// What has no reason of its own came with its package.
		for _, p := range i.Owners(e) {
			if r = i.reasons[packagePrefix+p.Name]; r != nil {
				covered = r.Path
				break
			}
		}
	}
	seen := map[string]bool{}
	for r != nil && !seen[r.Path] && len(steps) < maxChain {
		seen[r.Path] = true
		steps = append(steps, Step{Path: r.Path, Why: r.Why})
		if r.From == "" {
			break
		}
		next, _ := i.reasonFor(r.From)
		if name, ok := strings.CutPrefix(r.From, packagePrefix); next == nil && ok {
			// A package is reached by one of its files, or was asked for.
			step := Step{Path: r.From, Why: "stays"}
			if next = i.packageReason(name); next != nil {
				step.Why = "is of"
			}
			steps = append(steps, step)
		} else if next == nil {
			steps = append(steps, Step{Path: r.From, Why: "stays"})
		}
		r = next
	}
	slices.Reverse(steps)
	return steps, covered
}

// chainOfLink takes the reason of the last link that led to a path and has one.
func (i *Image) chainOfLink(a *Answer) {
	for k := len(a.Links) - 1; k >= 0; k-- {
		e, ok := i.Files.Lookup(a.Links[k].Path)
		if !ok {
			continue
		}
		if steps, _ := i.chain(e); len(steps) > 0 {
			a.Chain = steps
			for _, l := range append(a.Links[k+1:len(a.Links):len(a.Links)], examine.Link{Path: a.Path}) {
				a.Chain = append(a.Chain, Step{Path: l.Path, Why: "is a link to"})
			}
			return
		}
	}
}

// packageReason is the reason of that file of a package which led to the package: of
// a root where there is one, and otherwise of the first that something else led to.
func (i *Image) packageReason(name string) *spec.Reason {
	var found *spec.Reason
	for k := range i.Report.Reasons {
		r := &i.Report.Reasons[k]
		if r.From == packagePrefix+name || found != nil && r.From != "" {
			continue
		}
		e, ok := i.Files.Lookup(r.Path)
		if !ok || e.Mode.IsDir() {
			continue
		}
		for _, p := range i.Owners(e) {
			if p.Name == name {
				if r.From == "" {
					return r
				}
				found = r
				break
			}
		}
	}
	return found
}
