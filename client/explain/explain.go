// Package explain says why a path of a hardened image is there, or why it is not
// and what would keep it, from the hardening report and the image's files.
package explain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/temper-images/temper/client/examine"
	"github.com/temper-images/temper/client/imagefs"
	"github.com/temper-images/temper/hardening/spec"
)

// maxMatches bounds how many paths one pattern stands for.
const maxMatches = 1000

// NoReportError says that nothing is known of how an image was hardened.
type NoReportError struct {
	// Image is its name or reference, Platform its platform.
	Image, Platform string
}

func (e *NoReportError) Error() string {
	return fmt.Sprintf("%s (%s) has no hardening report attached: it was not built by Temper, or with harden.level off or harden.report none, or it was copied without what is attached to it",
		e.Image, e.Platform)
}

// PatternError says that a pattern is malformed.
type PatternError struct{ Pattern string }

func (e *PatternError) Error() string {
	return fmt.Sprintf("the pattern %q is malformed: *, ?, [a-z] and {a,b} stand for names, ** for any number of directories", e.Pattern)
}

// ErrNoReasons is the error for a tree of an image whose report has no reasons.
var ErrNoReasons = errors.New("the hardening report has no reasons, so that nobody knows what pulls in what: they are recorded at harden.level minimal")

// Options say what is asked.
type Options struct {
	// Tree asks for what each path pulls in.
	Tree bool
	// Depth bounds the trees in steps; 0 is as many as are shown at most, 64.
	Depth int
}

// State says what became of a path.
type State string

// The states.
const (
	// Kept: it is in the image.
	Kept State = "kept"
	// Removed: hardening removed it.
	Removed State = "removed"
	// Absent: neither the image nor the report has it.
	Absent State = "absent"
)

// Answer is what there is to say of one path.
type Answer struct {
	// Asked is what was asked: a path, a command or a pattern.
	Asked string `json:"asked"`
	// Named is the path that it stands for, one of several for a pattern.
	Named string `json:"named"`
	// Links are the symbolic links that were followed from there.
	Links []examine.Link `json:"links,omitempty"`
	// Path is what the links lead to, or Named itself.
	Path  string `json:"path"`
	State State  `json:"state"`
	// Type is "file", "directory", "link" or "other", of what is in the image.
	Type string `json:"type,omitempty"`
	// Size of a file is in bytes.
	Size int64 `json:"size,omitempty"`
	// Packages own the path.
	Packages []Owner `json:"packages,omitempty"`
	// Chain leads from a root to the path, the root first. It is empty when the
	// report has no reason.
	Chain []Step `json:"chain,omitempty"`
	// Covered is the directory, with a trailing slash, or the package whose reason is
	// the path's, since it has none of its own.
	Covered string `json:"covered,omitempty"`
	// Statement says in words why the path is there, or that it is not, where there
	// is no chain.
	Statement string `json:"statement,omitempty"`
	// Changes are what hardening did to what it kept.
	Changes []spec.Change `json:"changes,omitempty"`
	// Removal says how it went, or what a kept link leads to.
	Removal *Removal `json:"removal,omitempty"`
	// Rules are the ways to keep what went, the best first.
	Rules []Rule `json:"rules,omitempty"`
	// Similar are paths that may have been meant.
	Similar []string `json:"similar,omitempty"`
	// Tree is what the path pulls in.
	Tree *Tree `json:"tree,omitempty"`
}

// Owner is a package that owns a path.
type Owner struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// State is what became of the package, one of spec's constants, and FilesBefore
	// and FilesAfter count its files, where the report knows it.
	State       string `json:"state,omitempty"`
	FilesBefore int    `json:"filesBefore,omitempty"`
	FilesAfter  int    `json:"filesAfter,omitempty"`
}

// Step is one step of a chain.
type Step struct {
	// Path is a path, or "package NAME".
	Path string `json:"path"`
	// Why completes a sentence: of the first step "PATH WHY", of the others "the step
	// before WHY PATH".
	Why string `json:"why"`
}

// Removal says how a path went.
type Removal struct {
	// Path is the path that went: that of the answer, or what the link there leads to.
	Path string `json:"path"`
	// Class, Name and Why are those of the group in the report.
	Class string   `json:"class"`
	Name  string   `json:"name"`
	Why   []string `json:"why,omitempty"`
	// Files and Bytes are the whole group's.
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
	// Below is the directory, with a trailing slash, that went as a whole. The report
	// then does not say whether the path itself was there.
	Below string `json:"below,omitempty"`
	// Package is the package that went with the group, with its version.
	Package string `json:"package,omitempty"`
}

// Image answers questions about one image.
type Image struct {
	*examine.Image
	removals *examine.Removals
	reasons  map[string]*spec.Reason
	// pulls are the paths to which each path leads, from Needs and From.
	pulls    map[string][]string
	packages map[string]*spec.Package
	changes  map[string][]spec.Change
}

// New prepares the answers. The error is a NoReportError.
func New(img *examine.Image) (*Image, error) {
	if img.Report == nil {
		return nil, &NoReportError{Image: img.Label(), Platform: img.Platform}
	}
	out := &Image{
		Image: img, removals: examine.NewRemovals(img.Report), reasons: map[string]*spec.Reason{}, pulls: map[string][]string{},
		packages: map[string]*spec.Package{}, changes: map[string][]spec.Change{},
	}
	for i := range img.Report.Reasons {
		r := &img.Report.Reasons[i]
		if _, twice := out.reasons[r.Path]; !twice {
			out.reasons[r.Path] = r
		}
	}
	for i := range img.Report.Packages {
		p := &img.Report.Packages[i]
		if _, twice := out.packages[p.Name]; !twice {
			out.packages[p.Name] = p
		}
	}
	for _, c := range img.Report.Changed {
		out.changes[c.Path] = append(out.changes[c.Path], c)
	}
	out.indexPulls()
	return out, nil
}

// Explain answers for each path, command or pattern. A pattern gives an answer for
// each path that it stands for. Errors are PatternError, ErrNoReasons, or of ctx.
func (i *Image) Explain(ctx context.Context, asked []string, o Options) ([]Answer, error) {
	if o.Tree && len(i.Report.Reasons) == 0 {
		return nil, ErrNoReasons
	}
	var out []Answer
	for _, name := range asked {
		paths, err := i.expand(ctx, name)
		if err != nil {
			return nil, err
		}
		for _, p := range paths {
			a, err := i.answer(ctx, name, p)
			if err != nil {
				return nil, err
			}
			if o.Tree && a.State == Kept {
				a.Tree = i.tree(a.Path, o.Depth)
			}
			out = append(out, a)
		}
	}
	return out, nil
}

// expand finds the paths that a word stands for: itself, a command that is looked
// for as the runtime does, a file name wherever it is, or a pattern.
func (i *Image) expand(ctx context.Context, word string) ([]string, error) {
	clean := path.Clean("/" + word)
	if i.known(clean) {
		return []string{clean}, nil
	}
	bare := word != "" && !strings.Contains(word, "/")
	if bare {
		if p, ok := i.LookPath(word); ok {
			return []string{p}, nil
		}
		if p, ok := i.removedCommand(word); ok {
			return []string{p}, nil
		}
	}
	pattern := clean
	switch {
	case bare:
		pattern = "/**/" + word
	case !strings.ContainsAny(word, "*?[{"):
		return []string{clean}, nil
	}
	if !doublestar.ValidatePattern(pattern) {
		return nil, &PatternError{word}
	}
	var found []string
	match := func(p string) {
		if ok, err := doublestar.Match(pattern, p); err == nil && ok {
			found = append(found, p)
		}
	}
	for e := range i.Files.Entries() {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		match(e.Path)
	}
	for _, p := range i.removals.Paths() {
		match(strings.TrimSuffix(p, "/"))
	}
	if len(found) == 0 {
		return []string{clean}, nil
	}
	slices.Sort(found)
	found = slices.Compact(found)
	if len(found) > maxMatches {
		return nil, fmt.Errorf("%s stands for %d paths, and at most %d are explained: name fewer", word, len(found), maxMatches)
	}
	return found, nil
}

// removedCommand finds a command that was in the image's PATH.
func (i *Image) removedCommand(name string) (string, bool) {
	for _, d := range i.SearchPath() {
		p := path.Join(d, name)
		if _, at, e, err := i.Follow(p); err == nil && e == nil {
			if _, below, ok := i.removals.Find(at); ok && below == "" {
				return p, true
			}
		}
	}
	return "", false
}

// known says that something has exactly this path.
func (i *Image) known(p string) bool {
	if _, ok := i.Files.Lookup(p); ok || p == "/" {
		return true
	}
	_, below, ok := i.removals.Find(p)
	return ok && below == ""
}

func (i *Image) answer(ctx context.Context, asked, p string) (Answer, error) {
	a := Answer{Asked: asked, Named: p, Path: p}
	links, at, e, err := i.Follow(p)
	a.Links = links
	var loop *examine.LoopError
	round := errors.As(err, &loop)
	if e != nil || at == "/" {
		a.Path = at
		i.kept(&a, e)
		return a, nil
	}
	if own := i.link(p); own != nil {
		// A link that leads nowhere is there all the same.
		a.Path = own.Path
		a.Statement = "it leads to " + at + ", which is not in the image"
		if round {
			a.Statement = fmt.Sprintf("it leads through more than %d symbolic links, round in circles", examine.MaxLinks)
		}
		i.kept(&a, own)
		if !round {
			i.removal(&a, at)
		}
		return a, nil
	}
	a.Path = at
	return a, i.gone(ctx, &a)
}

// link finds the symbolic link that a path itself is.
func (i *Image) link(p string) *imagefs.Entry {
	dir, base := path.Split(p)
	_, at, e, err := i.Follow(dir)
	if err != nil || e == nil && at != "/" {
		return nil
	}
	own, ok := i.Files.Lookup(strings.TrimSuffix(at, "/") + "/" + base)
	if !ok || own.Mode.Type() != fs.ModeSymlink {
		return nil
	}
	return own
}

// kept explains an entry of the image. The root directory is none.
func (i *Image) kept(a *Answer, e *imagefs.Entry) {
	a.State, a.Type = Kept, "directory"
	if e == nil {
		a.Statement = "it is the root directory"
		return
	}
	switch {
	case e.Mode.IsRegular():
		a.Type, a.Size = "file", e.Size
	case e.Mode.Type() == fs.ModeSymlink:
		a.Type = "link"
	case !e.Mode.IsDir():
		a.Type = "other"
	}
	// A directory belongs to all that have something in it, which says nothing.
	if !e.Mode.IsDir() {
		for _, p := range i.Owners(e) {
			o := Owner{Name: p.Name, Version: p.Version}
			if known := i.packages[p.Name]; known != nil {
				o.State, o.FilesBefore, o.FilesAfter = known.State, known.FilesBefore, known.FilesAfter
			}
			a.Packages = append(a.Packages, o)
		}
	}
	a.Changes = i.changes[e.Path]
	a.Chain, a.Covered = i.chain(e)
	if len(a.Chain) == 0 {
		i.chainOfLink(a)
	}
	if len(a.Chain) == 0 && a.Statement == "" {
		a.Statement = i.statement(a, e)
	}
}

// statement says in words why something is there for which the report has no reason.
func (i *Image) statement(a *Answer, e *imagefs.Entry) string {
	for _, c := range a.Changes {
		if c.What == spec.ChangeCreated {
			return "hardening made it, for the user that the image runs as"
		}
	}
	if role := i.role(e.Path); role != "" {
		return "it is the image's " + role
	}
	level := i.Report.Level
	for _, dir := range databases {
		if strings.HasPrefix(e.Path, dir+"/") {
			return "it is part of the package database, which names what is left: scanners read it"
		}
	}
	switch {
	case e.Mode.IsDir():
		return "a directory stays, also an empty one, unless it belonged to what went: programs may expect it"
	case level == spec.LevelMinimal:
		return "the report has no reason for it"
	case len(a.Packages) == 0 && len(i.Report.Packages) > 0:
		return fmt.Sprintf("no package owns it: somebody put it there on purpose, and level %s keeps that", level)
	case len(a.Packages) == 0:
		return fmt.Sprintf("level %s keeps what no package manager needed", level)
	}
	return fmt.Sprintf("it belongs to the package %s, and level %s removes only package managers and what nothing else needed", a.Packages[0].Name, level)
}

// databases are where dpkg, apk and rpm have their package databases.
var databases = []string{"/var/lib/dpkg", "/lib/apk/db", "/usr/lib/apk/db", "/var/lib/rpm", "/usr/lib/sysimage/rpm", "/var/lib/rpmmanifest"}

// role says which command of the image's configuration a path is.
func (i *Image) role(p string) string {
	c := i.Config.Config
	health := []string{}
	if c.Healthcheck != nil && len(c.Healthcheck.Test) > 1 && c.Healthcheck.Test[0] == "CMD" {
		health = c.Healthcheck.Test[1:]
	}
	for _, r := range []struct {
		name string
		argv []string
	}{{"entrypoint", c.Entrypoint}, {"command", c.Cmd}, {"health check", health}} {
		if len(r.argv) == 0 {
			continue
		}
		if name, ok := i.LookPath(r.argv[0]); ok {
			if _, at, _, err := i.Follow(name); err == nil && at == p {
				return r.name
			}
		}
	}
	return ""
}
