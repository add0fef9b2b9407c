package loadcheck

import (
	"context"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/hardening/rootfs"
	"github.com/temper-images/temper/hardening/spec"
)

// maxViolations bounds what the report lists.
const maxViolations = 1000

// Options name what Verify compares.
type Options struct {
	// Before is the runtime stage, After the hardened root filesystem. Both are
	// only read.
	Before, After *os.Root
	// Env is the image's environment, as "NAME=value", and WorkingDir its
	// directory.
	Env        []string
	WorkingDir string

	maxLookups int // of each root filesystem; the default when 0
}

// Verify loads every ELF file of the hardened root filesystem as its dynamic
// loader would, and tells in the check's Violations what one of them misses that
// it did not miss in the runtime stage. The notices name the libraries that files
// recommend, without requiring them, and do not find any more. Verify answers a
// *LimitError, what reading answered, or the context's error.
func Verify(ctx context.Context, opts Options) (check spec.Check, notices []string, err error) {
	check = spec.Check{
		Name: spec.CheckLoads,
		Statement: "every kept ELF file can be started or loaded, with every library and symbol version that it had before, " +
			"as a second reading of the loaders' rules finds",
	}
	after, err := open(ctx, opts.After, opts)
	if err != nil {
		return check, nil, fmt.Errorf("read the hardened root filesystem: %w", err)
	}
	v := &verifier{opts: opts, after: after, told: map[string]*finding{}}
	if err := after.readAll(ctx); err != nil {
		return check, nil, fmt.Errorf("read the hardened root filesystem: %w", err)
	}
	if err := v.run(ctx); err != nil {
		return check, nil, fmt.Errorf("play the dynamic loader: %w", err)
	}
	check.Examined = v.examined
	check.Violations, notices = v.violations()
	check.Passed = len(check.Violations) == 0
	return check, notices, nil
}

// readAll reads every ELF file of the tree, in parallel.
func (s *system) readAll(ctx context.Context) error {
	entries := s.tree.Entries()
	workers := runtime.GOMAXPROCS(0)
	parts := make([][]*file, workers)
	eg, ctx := errgroup.WithContext(ctx)
	for w := range workers {
		eg.Go(func() error {
			for i := w; i < len(entries); i += workers {
				e := entries[i]
				if e.Kind != rootfs.Regular || e.Size < 52 {
					continue
				}
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				f := &file{path: e.Path, entry: e}
				switch f.object, f.why = s.parse(e); {
				case unreadable(f.why):
					return f.why
				case f.why == nil:
					parts[w] = append(parts[w], f)
				}
			}
			return nil
		})
	}
	if err := eg.Wait(); err != nil {
		return err
	}
	for _, part := range parts {
		for _, f := range part {
			s.objects[f.path] = f
		}
	}
	return nil
}

// verifier compares two root filesystems.
type verifier struct {
	opts          Options
	before, after *system
	interps       map[abi]interps
	examined      int
	told          map[string]*finding
}

// interps are the interpreters to suppose for the libraries of an ABI.
type interps struct{ any, glibc, musl string }

// finding is something that was lost, the first process that misses it, and how
// many others do.
type finding struct {
	text   string
	length int
	others int
	advice bool
	last   *file // what the last of these processes was started from
}

func (v *verifier) run(ctx context.Context) error {
	roots := sortedFiles(v.after)
	v.suppose(roots)
	for _, root := range roots {
		if err := v.after.alive(ctx); err != nil {
			return err
		}
		o := root.object
		if !o.started() && !o.loadable() {
			continue
		}
		v.examined++
		interp := v.interpOf(o)
		p := v.after.start(root, interp, false)
		if err := v.compare(ctx, p); err != nil {
			return err
		}
		if p.varies {
			if err := v.compare(ctx, v.after.start(root, interp, true)); err != nil {
				return err
			}
		}
	}
	return nil
}

// sortedFiles returns the ELF files that were read, by path.
func sortedFiles(s *system) []*file {
	return slices.SortedFunc(maps.Values(s.objects), func(a, b *file) int { return strings.Compare(a.path, b.path) })
}

// suppose finds the interpreters that the programs of each ABI name most.
func (v *verifier) suppose(roots []*file) {
	counts := map[abi]map[string]int{}
	for _, f := range roots {
		o := f.object
		if counts[o.abi] == nil {
			counts[o.abi] = map[string]int{}
			for _, usual := range architectures[o.abi].interps {
				if v.after.look(usual) != nil {
					counts[o.abi][usual]++
				}
			}
		}
		if o.started() {
			counts[o.abi][o.interp]++
		}
	}
	v.interps = map[abi]interps{}
	for a, count := range counts {
		var most interps
		take := func(to *string, interp string) {
			if *to == "" || count[interp] > count[*to] {
				*to = interp
			}
		}
		for _, interp := range slices.Sorted(maps.Keys(count)) {
			take(&most.any, interp)
			if isMusl(interp) {
				take(&most.musl, interp)
			} else {
				take(&most.glibc, interp)
			}
		}
		v.interps[a] = most
	}
}

// interpOf returns the interpreter that an object is loaded by. A library does
// not say, but the C library that it needs tells glibc from musl.
func (v *verifier) interpOf(o *object) string {
	if o.started() {
		return o.interp
	}
	most := v.interps[o.abi]
	for _, n := range o.needed {
		switch {
		case n == "libc.so.6" && most.glibc != "":
			return most.glibc
		case (n == "libc.so" || strings.HasPrefix(n, "libc.musl-")) && most.musl != "":
			return most.musl
		}
	}
	if most.any == "" && len(architectures[o.abi].interps) > 0 {
		return architectures[o.abi].interps[0]
	}
	return most.any
}

// compare tells those lacks of a process that the same one did not have in the
// runtime stage.
func (v *verifier) compare(ctx context.Context, p *process) error {
	if len(p.lacks) == 0 {
		return nil
	}
	if v.before == nil {
		var err error
		if v.before, err = open(ctx, v.opts.Before, v.opts); err != nil {
			return fmt.Errorf("read the runtime stage: %w", err)
		}
	}
	if err := v.before.alive(ctx); err != nil {
		return err
	}
	var was *process
	if e, ok := v.before.tree.Lookup(p.maps[0].path); ok && e.Kind == rootfs.Regular {
		f := v.before.read(e)
		if unreadable(f.why) {
			return f.why
		}
		if f.object != nil {
			was = v.before.start(f, p.loader.interp, p.capable)
		}
	}
	had := map[string]lack{}
	if was != nil {
		for _, l := range was.lacks {
			had[l.key()] = l
		}
	}
	for _, l := range p.lacks {
		if old, ok := had[l.key()]; !ok || old.how > l.how {
			v.tell(p, was, l)
		}
	}
	return nil
}

// tell records what was lost, by the shortest chain that leads to it.
func (v *verifier) tell(p, was *process, l lack) {
	chain := l.from.chain()
	key := l.key()
	f := v.told[key]
	if f == nil {
		f = &finding{advice: l.advice}
		v.told[key] = f
	} else {
		if f.last != p.maps[0].file {
			f.others++
		}
		if f.length <= len(chain) {
			f.last = p.maps[0].file
			return
		}
	}
	f.last, f.length = p.maps[0].file, len(chain)
	f.text = strings.Join(chain, " → ") + " → " + describe(l)
	if p.capable {
		f.text += " (on a processor for which there are variants)"
	}
	if hint := remedy(was, l); hint != "" {
		f.text += "; " + hint
	}
}

func describe(l lack) string {
	switch {
	case l.kind == lackInterpreter:
		return l.name + ": the interpreter is missing"
	case l.kind == lackVersion:
		return fmt.Sprintf("%s: %s does not define this symbol version", l.name, l.in.path)
	case l.why != "":
		return l.name + ": " + l.why
	case l.how == later:
		return l.name + ": the loader finds it no more before ldconfig has run"
	case l.kind == lackFeature:
		return l.name + ": the library that it may load is missing"
	}
	return l.name + ": the library is missing"
}

// remedy says what to keep, which is what the runtime stage had.
func remedy(was *process, l lack) string {
	if was == nil {
		return ""
	}
	if l.kind == lackInterpreter {
		return "keep it with harden.keep"
	}
	if l.kind == lackVersion {
		if m := was.byName[l.file]; m != nil && m.object.defines[l.name] {
			return fmt.Sprintf("it was %s; keep that with harden.keep", m.path)
		}
		return ""
	}
	for name := range strings.SplitSeq(l.name, " or ") {
		if m := was.byName[name]; m != nil {
			return fmt.Sprintf("it was %s; keep that with harden.keep", m.path)
		}
		if h := was.find(name, was.maps[0]); h.how != no {
			return fmt.Sprintf("it was %s; keep that with harden.keep", h.file.path)
		}
	}
	return ""
}

// violations returns what was lost, sorted, and apart from it what was recommended.
func (v *verifier) violations() (all, advice []string) {
	for _, key := range slices.Sorted(maps.Keys(v.told)) {
		if len(all)+len(advice) == maxViolations {
			all = append(all, fmt.Sprintf("and %d more", len(v.told)-maxViolations))
			break
		}
		f := v.told[key]
		switch {
		case f.others == 1:
			f.text += " (and 1 other file that loads it)"
		case f.others > 1:
			f.text += fmt.Sprintf(" (and %d other files that load it)", f.others)
		}
		if f.advice {
			advice = append(advice, f.text)
		} else {
			all = append(all, f.text)
		}
	}
	return all, advice
}
