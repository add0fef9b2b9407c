package imagefs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"
)

// maxPath bounds a path in bytes, as Linux does (PATH_MAX).
const maxPath = 4096

// What marks removals in a layer (image-spec v1.1, layer.md, "Whiteouts").
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
	// whiteoutMeta begins names that only AUFS itself uses.
	whiteoutMeta = ".wh..wh."
)

// capability is the PAX record of file capabilities.
const capability = "SCHILY.xattr.security.capability"

// node is a path of the file system that is being built.
type node struct {
	entry    *Entry // nil for a directory that no layer holds
	children map[string]*node
	// layer is the number of the layer that last wrote the entry.
	layer int
}

// builder merges layers, the lowest first.
type builder struct {
	contents *contents
	root     *node
	shadowed []*Entry
	number   int // of the layer that is read, from 1

	entries, maxEntries int
	metadata            int64
}

func newBuilder(c *contents, o Options) *builder {
	b := &builder{contents: c, root: &node{}, maxEntries: o.MaxEntries}
	if b.maxEntries == 0 {
		b.maxEntries = DefaultMaxEntries
	}
	return b
}

// layer reads one layer to its last byte.
func (b *builder) layer(ctx context.Context, l layer, m *meter) (err error) {
	b.number++
	h := l.diffID.Algorithm().Hash()
	a, err := openArchive(ctx, l, m, h)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	from := len(b.shadowed)
	rd := tar.NewReader(a)
	for {
		hdr, err := rd.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return fmt.Errorf("read its tar archive: %w", err)
		}
		if err := b.add(ctx, hdr, body{rd, a.read}, l, m); err != nil {
			return fmt.Errorf("entry %q: %w", clip(hdr.Name), err)
		}
	}
	// What follows the archive's end counts for the diff ID.
	if _, err := io.Copy(io.Discard, a); err != nil {
		return err
	}
	slices.SortStableFunc(b.shadowed[from:], func(x, y *Entry) int { return strings.Compare(x.Path, y.Path) })
	if got := digest.NewDigest(l.diffID.Algorithm(), h); got != l.diffID {
		return &DiffIDError{Want: l.diffID, Got: got}
	}
	return nil
}

// body reads what an entry of an archive holds, which begins at a place in the archive.
type body struct {
	io.Reader
	at int64
}

// contentOf takes in what a regular file holds. Where the archive stays at hand, as
// uncompressed as it is read, nothing is copied.
func (b *builder) contentOf(ctx context.Context, hdr *tar.Header, rd body, l layer) (content, error) {
	sparse := hdr.Typeflag == tar.TypeGNUSparse
	for key := range hdr.PAXRecords {
		sparse = sparse || strings.HasPrefix(key, "GNU.sparse.")
	}
	if l.archive == nil || sparse {
		return b.contents.add(ctx, rd, hdr.Size)
	}
	if hdr.Size > l.archive.Size()-rd.at {
		return content{}, io.ErrUnexpectedEOF
	}
	return content{size: hdr.Size, archive: l.archive, at: rd.at}, nil
}

// add takes in one entry of a layer.
func (b *builder) add(ctx context.Context, hdr *tar.Header, rd body, l layer, m *meter) error {
	if err := b.count(); err != nil {
		return err
	}
	caps := hdr.PAXRecords[capability]
	if b.metadata += int64(len(hdr.Name) + len(hdr.Linkname) + len(caps)); b.metadata > maxMetadata {
		return &LimitError{"bytes of names and attributes", maxMetadata}
	}
	if len(hdr.Name) > maxPath || len(hdr.Linkname) > maxPath {
		return fmt.Errorf("its name or link target is longer than %d bytes", maxPath)
	}
	name := path.Clean("/" + hdr.Name)
	if name == "/" {
		return nil
	}
	dir, base := path.Split(name)
	if strings.HasPrefix(base, whiteoutPrefix) {
		return b.whiteout(path.Clean(dir), base)
	}
	parent, at, err := b.resolve(path.Clean(dir), true)
	if err != nil {
		return err
	}
	e := &Entry{
		Path: name, Mode: hdr.FileInfo().Mode(), UID: hdr.Uid, GID: hdr.Gid, Layer: l.diffID, ModTime: hdr.ModTime,
	}
	if at != dir[:len(dir)-1] {
		e.Path = at + "/" + base
	}
	if caps != "" {
		e.Capabilities = []byte(caps)
	}
	switch hdr.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		// A sparse file is short in the archive and long when it is read.
		if m.files -= hdr.Size; m.files < 0 {
			return &LimitError{"bytes unpacked", m.limit}
		}
		if e.content, err = b.contentOf(ctx, hdr, rd, l); err != nil {
			return err
		}
		e.Size = hdr.Size
	case tar.TypeLink:
		if err := b.link(e, hdr.Linkname); err != nil {
			return fmt.Errorf("it is a hard link to %q: %w", clip(hdr.Linkname), err)
		}
	case tar.TypeSymlink:
		e.Linkname = hdr.Linkname
	case tar.TypeDir, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
	default:
		return nil // what is not of the file system, such as global headers
	}
	return b.put(parent, base, e)
}

// count counts an entry or a directory that only the name of an entry makes.
func (b *builder) count() error {
	if b.entries++; b.entries > b.maxEntries {
		return &LimitError{"entries", int64(b.maxEntries)}
	}
	return nil
}

// child finds or makes what is called base in a directory.
func (b *builder) child(parent *node, base string) (*node, error) {
	if n := parent.children[base]; n != nil {
		return n, nil
	}
	if err := b.count(); err != nil {
		return nil, err
	}
	n := &node{layer: b.number}
	if parent.children == nil {
		parent.children = map[string]*node{}
	}
	parent.children[base] = n
	return n, nil
}

// put sets the entry at a name, and shadows what it replaces. A directory over a
// directory keeps what is in it.
func (b *builder) put(parent *node, base string, e *Entry) error {
	n, err := b.child(parent, base)
	if err != nil {
		return err
	}
	if e.Mode.IsDir() {
		b.shadow(n.entry)
	} else {
		b.shadowAll(n)
		n.children = nil
	}
	n.entry, n.layer = e, b.number
	return nil
}

// resolve finds a directory and its path. A symbolic link on the way is followed
// when this layer made it, as unpacking the layer would, and replaced when a
// lower layer did, as overlay file systems do. What is not there is made, or is
// nil unless make is set.
func (b *builder) resolve(dir string, make bool) (*node, string, error) {
	at, done, rest := b.root, "", dir
	links := 0
	for rest != "" && rest != "/" {
		part, tail := split(rest)
		n := at.children[part]
		if n == nil && !make {
			return nil, "", nil
		}
		if n == nil {
			var err error
			if n, err = b.child(at, part); err != nil {
				return nil, "", err
			}
		}
		switch {
		case n.entry == nil || n.entry.Mode.IsDir():
		case n.layer != b.number && make:
			b.shadow(n.entry)
			n.entry, n.layer = nil, b.number
		case n.entry.Mode.Type() != fs.ModeSymlink:
			return nil, "", fmt.Errorf("%s is not a directory", clip(n.entry.Path))
		default:
			if links++; links > maxLinks {
				return nil, "", fmt.Errorf("symbolic links such as %s lead in circles", clip(n.entry.Path))
			}
			rest = follow(done, n.entry.Linkname, tail)
			if len(rest) > maxPath {
				return nil, "", fmt.Errorf("behind symbolic links its name is longer than %d bytes", maxPath)
			}
			at, done = b.root, ""
			continue
		}
		at, rest = n, tail
		// Mostly there is no link, and the path is a part of what was asked for.
		if end := len(dir) - len(tail); links == 0 {
			done = dir[:end]
		} else {
			done += "/" + part
		}
	}
	return at, done, nil
}

// split takes the first name off an absolute path. The rest is empty or begins
// with a slash.
func split(name string) (first, rest string) {
	if i := strings.IndexByte(name[1:], '/'); i >= 0 {
		return name[1 : i+1], name[i+1:]
	}
	return name[1:], ""
}

// follow is the path that a symbolic link in dir leads to, with what comes after
// it.
func follow(dir, target, rest string) string {
	if !path.IsAbs(target) {
		target = dir + "/" + target
	}
	return path.Clean("/" + target + rest)
}

// link makes e another name of a file.
func (b *builder) link(e *Entry, linkname string) error {
	dir, base := path.Split(path.Clean("/" + linkname))
	parent, at, err := b.resolve(path.Clean(dir), false)
	if err != nil {
		return err
	}
	if parent == nil || parent.children[base] == nil || parent.children[base].entry == nil {
		return errors.New("there is no such file")
	}
	t := parent.children[base].entry
	if at+"/"+base == e.Path {
		return errors.New("that is itself")
	}
	if t.Mode.IsDir() {
		return errors.New("that is a directory")
	}
	e.Mode, e.UID, e.GID, e.ModTime, e.Size, e.Capabilities = t.Mode, t.UID, t.GID, t.ModTime, t.Size, t.Capabilities
	e.content, e.Linkname = t.content, t.Linkname
	if t.Mode.IsRegular() && t.Linkname == "" {
		e.Linkname = at + "/" + base
	}
	return nil
}

// whiteout removes what lower layers have in the directory dir.
func (b *builder) whiteout(dir, base string) error {
	if base != whiteoutOpaque && strings.HasPrefix(base, whiteoutMeta) {
		return nil
	}
	name := strings.TrimPrefix(base, whiteoutPrefix)
	if name == "" || name == "." || name == ".." {
		return errors.New("it is a whiteout of no file")
	}
	n := b.root
	for rest := dir; rest != "" && rest != "/" && n != nil; {
		var part string
		part, rest = split(rest)
		n = n.children[part]
	}
	if n == nil {
		return nil
	}
	if base == whiteoutOpaque {
		b.empty(n)
		return nil
	}
	if child := n.children[name]; child != nil && b.remove(child) {
		delete(n.children, name)
	}
	return nil
}

// empty removes what lower layers put below n.
func (b *builder) empty(n *node) {
	for name, child := range n.children {
		if b.remove(child) {
			delete(n.children, name)
		}
	}
}

// remove takes away what lower layers put at n and below it. It says whether
// nothing is left.
func (b *builder) remove(n *node) bool {
	b.empty(n)
	if n.layer == b.number {
		return false
	}
	b.shadow(n.entry)
	n.entry = nil
	return len(n.children) == 0
}

func (b *builder) shadow(e *Entry) {
	if e != nil && e.Mode.IsRegular() {
		b.shadowed = append(b.shadowed, e)
	}
}

func (b *builder) shadowAll(n *node) {
	b.shadow(n.entry)
	for _, child := range n.children {
		b.shadowAll(child)
	}
}

// result flattens the tree.
func (b *builder) result() []*Entry {
	out := make([]*Entry, 0, b.entries)
	var walk func(dir string, n *node)
	walk = func(dir string, n *node) {
		for base, child := range n.children {
			if child.entry == nil {
				child.entry = &Entry{Path: dir + "/" + base, Mode: fs.ModeDir | 0o755}
			}
			out = append(out, child.entry)
			walk(child.entry.Path, child)
		}
	}
	walk("", b.root)
	slices.SortFunc(out, func(x, y *Entry) int { return strings.Compare(x.Path, y.Path) })
	return slices.Clip(out)
}

// clip shortens a name for a message.
func clip(name string) string {
	const most = 200
	if len(name) <= most {
		return name
	}
	return name[:most] + "…"
}
