package hardening

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/temper-images/temper/hardening/rootfs"
	"github.com/temper-images/temper/hardening/spec"
)

// CheckOptions name what Check compares.
type CheckOptions struct {
	Settings spec.Settings
	// Before is the runtime stage, After the hardened one. Both are only read.
	Before, After *os.Root
	// Report is what Harden answered. Its After and Checks are set anew from what
	// is found.
	Report *spec.Report
}

// BrokenPromiseError says that a hardened root filesystem does not keep a
// promise.
type BrokenPromiseError struct {
	// Checks are those that failed.
	Checks []spec.Check
	// Rules are the rules of temper.yaml that broke it, sorted.
	Rules []spec.Rule
}

func (e *BrokenPromiseError) Error() string {
	const most = 20
	var b strings.Builder
	b.WriteString("the hardened root filesystem breaks a promise")
	for _, c := range e.Checks {
		fmt.Fprintf(&b, "\n%s: not so: %s", c.Name, c.Statement)
		for i, v := range c.Violations {
			if i == most {
				fmt.Fprintf(&b, "\n  and %d more", len(c.Violations)-most)
				break
			}
			fmt.Fprintf(&b, "\n  %s", v)
		}
	}
	return b.String()
}

// Check reads both root filesystems from the disk and tests the promises. It
// fills in the report; the error is a *BrokenPromiseError when one is broken.
func Check(ctx context.Context, opts CheckOptions) error {
	before, err := takeInventory(ctx, opts.Before, opts.Settings.Image, nil)
	if err != nil {
		return fmt.Errorf("read the runtime stage: %w", err)
	}
	return check(ctx, opts, before)
}

// check is Check with the runtime stage as it was read before.
func check(ctx context.Context, opts CheckOptions, before *inventory) error {
	after, err := takeInventory(ctx, opts.After, opts.Settings.Image, nil)
	if err != nil {
		return fmt.Errorf("read the hardened root filesystem: %w", err)
	}
	rules, err := before.matchRules(opts.Settings)
	if err != nil {
		return err
	}
	c := &checker{opts: opts, before: before, after: after, rules: rules, culprits: map[spec.Rule]bool{}}
	opts.Report.After = after.totals()
	opts.Report.Checks = []spec.Check{c.links(), c.packages(), c.lockdown(), c.unchanged()}
	var broken []spec.Check
	for i := range opts.Report.Checks {
		check := &opts.Report.Checks[i]
		check.Passed = len(check.Violations) == 0
		if !check.Passed {
			broken = append(broken, *check)
		}
	}
	if len(broken) > 0 {
		return &BrokenPromiseError{Checks: broken, Rules: slices.SortedFunc(maps.Keys(c.culprits), spec.Rule.Compare)}
	}
	return nil
}

type checker struct {
	opts          CheckOptions
	before, after *inventory
	rules         *ruleSet
	// culprits are the rules that removed what something kept needs.
	culprits map[spec.Rule]bool
}

// advice says how to mend that the user of a path has lost it; the links that
// led to the path may follow it.
func (c *checker) advice(user string, lost ...string) string {
	for _, p := range lost {
		var entries []int
		if i, ok := c.before.index[p]; ok {
			entries = append(entries, i)
		}
		if i, links, ok := c.before.find(p); ok {
			entries = append(append(entries, links...), i)
		}
		for _, i := range entries {
			if r, removed := c.rules.remove[i]; removed {
				c.culprits[r.place()] = true
				return fmt.Sprintf("%s removes it: mend that rule, or remove %s too", r, user)
			}
		}
	}
	return fmt.Sprintf("keep %s with harden.keep", lost[0])
}

// links tests that nothing that found its libraries, its interpreter or its
// link target before fails to find it now. What was broken before hardening is
// not hardening's doing.
func (c *checker) links() spec.Check {
	check := spec.Check{
		Name:      spec.CheckLinks,
		Statement: "every kept ELF file finds its libraries, every script its interpreter and every link its target, as before",
	}
	type missing struct{ file, name string }
	var unresolved []missing
	for _, e := range c.after.entries {
		if _, ok := c.after.objects[e.Path]; ok {
			check.Examined++
			for _, dep := range c.after.resolver.Dependencies(e.Path) {
				// A candidate is a library that another file of the same process
				// loads first; that context may be a program that has gone.
				if len(dep.Files) == 0 && len(dep.Candidates) == 0 && !dep.Optional() {
					unresolved = append(unresolved, missing{e.Path, dep.Name})
				}
			}
		}
		if sc, ok := c.after.scripts[e.Path]; ok && c.opts.Settings.Shell == spec.ShellKeep {
			check.Examined++
			if _, _, ok := c.after.find(sc.Interp); !ok {
				if _, _, was := c.before.find(sc.Interp); was {
					check.Violations = append(check.Violations, fmt.Sprintf("%s has lost its interpreter %s; %s", e.Path, sc.Interp, c.advice(e.Path, sc.Interp)))
				}
			}
		}
		if e.Kind == rootfs.Symlink {
			check.Examined++
			if _, _, ok := c.after.find(e.Path); !ok {
				if _, _, was := c.before.find(e.Path); was {
					check.Violations = append(check.Violations, fmt.Sprintf("%s has lost its target %s; %s", e.Path, e.Link, c.advice(e.Path, e.Path)))
				}
			}
		}
	}
	for _, m := range unresolved {
		var was []string
		if _, ok := c.before.objects[m.file]; ok {
			for _, dep := range c.before.resolver.Dependencies(m.file) {
				if found := slices.Concat(dep.Files, dep.Candidates); dep.Name == m.name && len(found) > 0 {
					was = append([]string{found[0].Path}, found[0].Links...)
				}
			}
		}
		if was != nil {
			check.Violations = append(check.Violations, fmt.Sprintf("%s has lost its library %s; %s", m.file, m.name, c.advice(m.file, was...)))
		} else {
			c.opts.Report.Notices = append(c.opts.Report.Notices, fmt.Sprintf("%s did not find its library %s before hardening either", m.file, m.name))
		}
	}
	return check
}

// packages tests that scanners see the truth: no record without files, no
// file whose record went.
func (c *checker) packages() spec.Check {
	check := spec.Check{
		Name:      spec.CheckPackages,
		Statement: "the package database names exactly the packages that still have files",
		Examined:  len(c.after.packages),
	}
	files := make([]int, len(c.after.packages))
	for i := range c.after.entries {
		if !c.after.isFileOfPackage(i) {
			continue
		}
		for _, o := range c.after.owners[i] {
			files[o]++
		}
	}
	known := map[string]bool{}
	for i, pkg := range c.after.packages {
		known[pkg.Type+" "+pkg.String()] = true
		if files[i] == 0 && pkg.FilesUnknown == "" {
			check.Violations = append(check.Violations, fmt.Sprintf("package %s has a record and no file", pkg))
		}
	}
	lost := map[int32]string{}
	for i, e := range c.before.entries {
		owners := c.before.owners[i]
		if len(owners) == 0 || !c.before.isFileOfPackage(i) {
			continue
		}
		if _, stays := c.after.index[e.Path]; !stays || c.before.inDatabase(e.Path) {
			continue
		}
		if !slices.ContainsFunc(owners, func(o int32) bool {
			pkg := c.before.packages[o]
			return known[pkg.Type+" "+pkg.String()]
		}) && lost[owners[0]] == "" {
			lost[owners[0]] = e.Path
		}
	}
	for o, pkg := range c.before.packages {
		if file := lost[int32(o)]; file != "" {
			check.Violations = append(check.Violations, fmt.Sprintf("package %s has lost its record, but %s is still there", pkg, file))
		}
	}
	return check
}

// lockdown tests that the image cannot install packages, holds no set-uid file
// and does not run as root.
func (c *checker) lockdown() spec.Check {
	check := spec.Check{
		Name:      spec.CheckLockdown,
		Statement: "there is no package manager and no set-uid file that is not kept by name, and the user is not root",
		Examined:  len(c.after.entries),
	}
	allowed := map[string]bool{}
	for _, p := range c.opts.Settings.SetUID {
		if i, _, ok := c.after.find(path.Clean(p)); ok {
			allowed[c.after.entries[i].Path] = true
		}
	}
	for _, e := range c.after.entries {
		if e.Kind != rootfs.Directory && isInstaller(e.Path) {
			check.Violations = append(check.Violations, fmt.Sprintf("%s can install packages; no rule may keep it", e.Path))
		}
		if e.Kind == rootfs.Regular && e.Mode&0o6000 != 0 && !allowed[e.Path] {
			check.Violations = append(check.Violations, fmt.Sprintf("%s has mode %04o; name it in harden.setuid to keep it so", e.Path, e.Mode))
		}
	}
	if c.opts.Settings.User == spec.UserKeep {
		check.Statement = "there is no package manager and no set-uid file that is not kept by name; the user is as the Dockerfile set it, by harden.user"
		return check
	}
	u := c.opts.Report.User
	name, _, _ := strings.Cut(u.Config, ":")
	if uid, err := strconv.Atoi(name); err != nil || uid == 0 {
		check.Violations = append(check.Violations, fmt.Sprintf("the image would run as %q; name another USER or set harden.user", u.Config))
	}
	return check
}

// unchanged tests that what stayed is what was there, but for what the report
// names.
func (c *checker) unchanged() spec.Check {
	check := spec.Check{
		Name:      spec.CheckUnchanged,
		Statement: "every entry was in the runtime stage with the same kind, owner, mode, size, time and target, but for those the report names",
		Examined:  len(c.after.entries),
	}
	on := map[string][]string{}
	for _, ch := range c.opts.Report.Changed {
		on[ch.Path] = append(on[ch.Path], ch.What)
	}
	for _, e := range c.after.entries {
		what := on[e.Path]
		i, ok := c.before.index[e.Path]
		if !ok {
			if !slices.Contains(what, spec.ChangeCreated) {
				check.Violations = append(check.Violations, fmt.Sprintf("%s was not in the runtime stage", e.Path))
			}
			continue
		}
		if d := difference(c.before.entries[i], e, what); d != "" && !slices.Contains(what, spec.ChangeCreated) {
			check.Violations = append(check.Violations, fmt.Sprintf("%s has another %s than in the runtime stage", e.Path, d))
		}
	}
	return check
}

// difference names the first property in which two entries differ although no
// change explains it.
func difference(a, b *rootfs.Entry, what []string) string {
	owner, mode := slices.Contains(what, spec.ChangeOwner), slices.Contains(what, spec.ChangeSetUID)
	rewritten := slices.Contains(what, spec.ChangeRewritten)
	switch {
	case a.Kind != b.Kind:
		return "kind"
	case !owner && (a.UID != b.UID || a.GID != b.GID):
		return "owner"
	case !mode && a.Mode != b.Mode:
		return "mode"
	case !rewritten && a.Size != b.Size:
		return "size"
	case !a.ModTime.Equal(b.ModTime):
		return "time"
	case a.Link != b.Link:
		return "target"
	case (a.Kind == rootfs.CharDevice || a.Kind == rootfs.BlockDevice) && a.Rdev != b.Rdev:
		return "device number"
	}
	return ""
}
