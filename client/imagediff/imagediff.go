// Package imagediff compares two images: files, packages, programs and libraries,
// configuration and sizes, with the reasons that hardening reports give.
package imagediff

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/temper-images/temper/client/examine"
	"github.com/temper-images/temper/client/imagefs"
	"github.com/temper-images/temper/hardening/spec"
)

// Diff is what is different in image B, seen from image A.
type Diff struct {
	A Side `json:"a"`
	B Side `json:"b"`
	// Same says that files, packages and configuration are equal. Times of files and
	// how they lie in layers do not count.
	Same     bool      `json:"same"`
	Files    []File    `json:"files,omitempty"`
	Packages []Package `json:"packages,omitempty"`
	Config   []Setting `json:"config,omitempty"`
	// Reasons are the groups of the hardening reports to which files of one image
	// belong that the other does not have, the largest first.
	Reasons []Reason `json:"reasons,omitempty"`
}

// Side is one of the images.
type Side struct {
	// Spec is what it was opened by.
	Spec      string `json:"spec"`
	Reference string `json:"reference,omitempty"`
	// Digest is the manifest's.
	Digest   string `json:"digest"`
	Platform string `json:"platform"`
	// Level is the level at which it was hardened, empty without a report.
	Level spec.Level `json:"level,omitempty"`
	// Totals count its root filesystem.
	Totals spec.Totals `json:"totals"`
	// Layers are the layers' digests, the lowest first, and Compressed is their size in
	// bytes as they are stored.
	Layers     []string `json:"layers"`
	Compressed int64    `json:"compressed"`
}

// Change says what became of something.
type Change string

// The changes.
const (
	Added   Change = "added"
	Removed Change = "removed"
	Changed Change = "changed"
)

// The values of File.What.
const (
	WhatType         = "type"
	WhatContent      = "content"
	WhatMode         = "mode"
	WhatOwner        = "owner"
	WhatLink         = "link"
	WhatCapabilities = "capabilities"
)

// File is a path that is not the same in both images.
type File struct {
	Path   string `json:"path"`
	Change Change `json:"change"`
	// What lists what is different of a changed one: the constants above.
	What []string `json:"what,omitempty"`
	// Before and After are nil where there is none.
	Before *Entry `json:"before,omitempty"`
	After  *Entry `json:"after,omitempty"`
	// Reason is the group of a hardening report with which the file went. In says of
	// which image.
	Reason *Ref `json:"reason,omitempty"`
}

// Entry is a path in one of the images.
type Entry struct {
	// Type is "file", "directory", "link" or "other".
	Type string `json:"type"`
	// Mode has the permission bits with set-uid, set-gid and sticky, octal.
	Mode  string `json:"mode"`
	Owner string `json:"owner"`
	Size  int64  `json:"size"`
	// Target is that of a symbolic link.
	Target string `json:"target,omitempty"`
	// Kind is "program", "script", "library" or empty.
	Kind examine.Kind `json:"kind,omitempty"`
}

// Ref names a group of a hardening report.
type Ref struct {
	// In is "a" or "b": whose report it is.
	In    string `json:"in"`
	Class string `json:"class"`
	Name  string `json:"name"`
}

// Reason is a group of a hardening report, with the files of this comparison in it.
type Reason struct {
	Ref
	// Why is the chain in the report.
	Why   []string `json:"why,omitempty"`
	Files int      `json:"files"`
	Bytes int64    `json:"bytes"`
}

// Package is a package that is not the same in both images.
type Package struct {
	Type   string `json:"type"`
	Name   string `json:"name"`
	Arch   string `json:"arch,omitempty"`
	Change Change `json:"change"`
	// Before and After are the versions; an image may have several of one package.
	Before []string `json:"before,omitempty"`
	After  []string `json:"after,omitempty"`
	// Why is what a hardening report says of a package that went.
	Why string `json:"why,omitempty"`
}

// Compare compares two images. The names are what they were opened by. Errors are
// those of reading, or of ctx.
func Compare(ctx context.Context, nameA string, a *examine.Image, nameB string, b *examine.Image) (*Diff, error) {
	d := &Diff{}
	kinds := [2]map[string]examine.Kind{}
	for i, s := range []struct {
		side *Side
		name string
		img  *examine.Image
	}{{&d.A, nameA, a}, {&d.B, nameB, b}} {
		var err error
		if kinds[i], err = s.img.Kinds(ctx); err != nil {
			return nil, fmt.Errorf("compare images: %s: %w", s.name, err)
		}
		if *s.side, err = newSide(s.name, s.img, kinds[i]); err != nil {
			return nil, fmt.Errorf("compare images: %s: %w", s.name, err)
		}
	}
	c := comparison{a: a, b: b, kinds: kinds}
	if err := c.files(ctx); err != nil {
		return nil, fmt.Errorf("compare images: %w", err)
	}
	d.Files, d.Reasons = c.found, c.reasons()
	d.Packages = packages(a, b)
	d.Config = settings(a.Config, b.Config)
	d.Same = len(d.Files) == 0 && len(d.Packages) == 0 && len(d.Config) == 0
	return d, nil
}

func newSide(name string, img *examine.Image, kinds map[string]examine.Kind) (Side, error) {
	s := Side{Spec: name, Reference: img.Reference, Digest: img.Digest.String(), Platform: img.Platform, Totals: img.Totals(kinds), Layers: []string{}}
	if img.Report != nil {
		s.Level = img.Report.Level
	}
	m, err := img.Image.Image.Manifest()
	if err != nil {
		return s, err
	}
	for _, l := range m.Layers {
		s.Layers = append(s.Layers, l.Digest.String())
		s.Compressed += max(l.Size, 0)
	}
	return s, nil
}

// comparison walks through the files of both images side by side.
type comparison struct {
	a, b  *examine.Image
	kinds [2]map[string]examine.Kind
	found []File
	// goneA and goneB are what the hardening reports of the images say.
	goneA, goneB *examine.Removals
	groups       map[Ref]*Reason
}

func (c *comparison) files(ctx context.Context) error {
	c.goneA, c.goneB, c.groups = examine.NewRemovals(c.a.Report), examine.NewRemovals(c.b.Report), map[Ref]*Reason{}
	left, right := slices.Collect(c.a.Files.Entries()), slices.Collect(c.b.Files.Entries())
	for len(left) > 0 || len(right) > 0 {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		switch order := first(left, right); {
		case order < 0:
			c.only(Removed, left[0], 0, "b", c.goneB)
			left = left[1:]
		case order > 0:
			c.only(Added, right[0], 1, "a", c.goneA)
			right = right[1:]
		default:
			if err := c.both(ctx, left[0], right[0]); err != nil {
				return err
			}
			left, right = left[1:], right[1:]
		}
	}
	return nil
}

// first compares the first paths of both lists. What is in one list alone is first
// there.
func first(left, right []*imagefs.Entry) int {
	switch {
	case len(left) == 0:
		return 1
	case len(right) == 0:
		return -1
	}
	return strings.Compare(left[0].Path, right[0].Path)
}

// only notes a path that one image has. Gone is what the report of the other says,
// which is called in.
func (c *comparison) only(change Change, e *imagefs.Entry, side int, in string, gone *examine.Removals) {
	f := File{Path: e.Path, Change: change}
	if side == 0 {
		f.Before = c.entry(e, 0)
	} else {
		f.After = c.entry(e, 1)
	}
	if g, _, ok := gone.Find(e.Path); ok {
		f.Reason = &Ref{in, g.Class, g.Name}
		r := c.groups[*f.Reason]
		if r == nil {
			r = &Reason{Ref: *f.Reason, Why: g.Why}
			c.groups[*f.Reason] = r
		}
		if !e.Mode.IsDir() {
			r.Files++
			r.Bytes += e.Size
		}
	}
	c.found = append(c.found, f)
}

// both notes a path that is not the same in both images.
func (c *comparison) both(ctx context.Context, a, b *imagefs.Entry) error {
	var what []string
	if a.Mode.Type() != b.Mode.Type() {
		what = append(what, WhatType)
	} else {
		same, err := c.sameContent(ctx, a, b)
		if err != nil {
			return err
		}
		if !same {
			what = append(what, WhatContent)
		}
	}
	// The modes of links mean nothing, and builders write different ones.
	if permissions(a.Mode) != permissions(b.Mode) && a.Mode.Type() != fs.ModeSymlink {
		what = append(what, WhatMode)
	}
	if a.UID != b.UID || a.GID != b.GID {
		what = append(what, WhatOwner)
	}
	if a.Mode.Type() == fs.ModeSymlink && b.Mode.Type() == fs.ModeSymlink && a.Linkname != b.Linkname {
		what = append(what, WhatLink)
	}
	if !bytes.Equal(a.Capabilities, b.Capabilities) {
		what = append(what, WhatCapabilities)
	}
	if len(what) > 0 {
		c.found = append(c.found, File{Path: a.Path, Change: Changed, What: what, Before: c.entry(a, 0), After: c.entry(b, 1)})
	}
	return nil
}

// sameContent compares regular files. What came out of one layer is equal without
// being read.
func (c *comparison) sameContent(ctx context.Context, a, b *imagefs.Entry) (bool, error) {
	if !a.Mode.IsRegular() {
		return true, nil
	}
	if a.Size != b.Size {
		return false, nil
	}
	if a.Size == 0 || a.Layer == b.Layer && !a.IsHardLink() && !b.IsHardLink() {
		return true, nil
	}
	left, err := c.a.Files.OpenEntry(a)
	if err != nil {
		return false, err
	}
	defer left.Close()
	right, err := c.b.Files.OpenEntry(b)
	if err != nil {
		return false, err
	}
	defer right.Close()
	return equal(ctx, left, right)
}

// equal says whether two files of one length have the same content.
func equal(ctx context.Context, a, b io.Reader) (bool, error) {
	const piece = 64 << 10
	left, right := make([]byte, piece), make([]byte, piece)
	for {
		if err := context.Cause(ctx); err != nil {
			return false, err
		}
		n, err := io.ReadFull(a, left)
		m, err2 := io.ReadFull(b, right)
		if !bytes.Equal(left[:n], right[:m]) {
			return false, nil
		}
		for _, err := range []error{err, err2} {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return true, nil
			}
			if err != nil {
				return false, err
			}
		}
	}
}

// reasons are the groups that were met, the largest first.
func (c *comparison) reasons() []Reason {
	var out []Reason
	for _, r := range c.groups {
		if r.Files > 0 {
			out = append(out, *r)
		}
	}
	slices.SortFunc(out, func(x, y Reason) int {
		return cmp.Or(cmp.Compare(y.Bytes, x.Bytes), cmp.Compare(y.Files, x.Files), cmp.Compare(x.In, y.In), cmp.Compare(x.Class, y.Class), cmp.Compare(x.Name, y.Name))
	})
	return out
}

func (c *comparison) entry(e *imagefs.Entry, side int) *Entry {
	out := &Entry{
		Type: "other", Mode: fmt.Sprintf("%04o", permissions(e.Mode)), Owner: fmt.Sprintf("%d:%d", e.UID, e.GID), Size: e.Size,
		Kind: c.kinds[side][e.Path],
	}
	switch {
	case e.Mode.IsRegular():
		out.Type = "file"
	case e.Mode.IsDir():
		out.Type = "directory"
	case e.Mode.Type() == fs.ModeSymlink:
		out.Type, out.Target = "link", e.Linkname
	}
	return out
}

// permissions are the twelve bits that chmod(2) sets.
func permissions(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for _, b := range []struct {
		mode fs.FileMode
		bit  uint32
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if m&b.mode != 0 {
			bits |= b.bit
		}
	}
	return bits
}
