package rootfs

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// Plan says what Copy writes. The zero Plan copies everything as it is.
type Plan struct {
	// Keep chooses the entries to copy; nil keeps all. It is called once for
	// each entry, in the order of Tree.Entries. The directories that lead to a
	// kept entry are copied too, whatever Keep says of them.
	Keep func(*Entry) bool
	// Override replaces the owner and mode of entries, by canonical path.
	Override map[string]Metadata
	// Contents replaces the contents of regular files, by canonical path. Owner,
	// mode, modification time and extended attributes stay, but for
	// security.capability, which spoke of other contents.
	Contents map[string][]byte
	// Add lists entries that the source does not have, or that Keep drops. The
	// directory of each must be in the copy or in Add.
	Add []NewEntry
}

// Metadata is an owner and a mode: its low twelve bits.
type Metadata struct {
	UID, GID uint32
	Mode     uint32
}

// Metadata returns the entry's own owner and mode.
func (e *Entry) Metadata() Metadata {
	return Metadata{UID: e.UID, GID: e.GID, Mode: e.Mode}
}

// NewEntry is a directory or regular file to add.
type NewEntry struct {
	// Path is absolute and canonical.
	Path string
	// Kind is Directory or Regular.
	Kind Kind
	Metadata
	// Contents are a regular file's.
	Contents []byte
	// ModTime is that of the source's "/" when zero.
	ModTime time.Time
}

// node is one name to write.
type node struct {
	path string
	name string
	kind Kind
	meta Metadata
	time time.Time
	src  *Entry // nil for what the source does not have

	// replaced says that contents stand for those of src.
	replaced bool
	contents []byte

	// leader is the node that this one is a hardlink of, nil for a file's
	// first name.
	leader *node

	// children are sorted by name; links are those with a leader.
	children []*node
	links    []*node
}

// layout is a plan applied to a tree.
type layout struct {
	root    *node
	stats   Stats
	notices notices
}

// inode tells hardlinks apart. A name whose owner or mode the plan changes in
// another way than those of its siblings becomes a file of its own.
type inode struct {
	dev, ino uint64
	meta     Metadata
}

// lay decides everything that Copy will do, before the destination is touched.
func lay(t *Tree, plan Plan) (*layout, error) {
	b := builder{plan: plan, directories: map[*Entry]*node{}, leaders: map[inode]*node{}}
	l := &layout{root: b.node(t.root)}
	for _, e := range t.entries {
		if plan.Keep != nil && !plan.Keep(e) {
			continue
		}
		if class := uncarried(e); class != "" {
			l.notices.add(class, e.Path)
			continue
		}
		b.node(e)
	}
	l.root.sort()
	if err := l.check(t, plan); err != nil {
		return nil, err
	}
	if err := l.add(plan.Add, t.root.ModTime); err != nil {
		return nil, err
	}
	l.finish(l.root)
	return l, nil
}

// builder makes nodes from entries.
type builder struct {
	plan        Plan
	directories map[*Entry]*node
	leaders     map[inode]*node
}

// node makes the node of an entry, and those of the directories above it where
// they are missing.
func (b *builder) node(e *Entry) *node {
	if n := b.directories[e]; n != nil {
		return n
	}
	n := &node{path: e.Path, name: e.Name(), kind: e.Kind, meta: e.Metadata(), time: e.ModTime, src: e}
	if meta, ok := b.plan.Override[e.Path]; ok {
		n.meta = meta
	}
	n.contents, n.replaced = b.plan.Contents[e.Path]
	switch {
	case e.Kind == Directory:
		b.directories[e] = n
	case e.Nlink > 1 && !n.replaced:
		key := inode{e.Dev, e.Ino, n.meta}
		if n.leader = b.leaders[key]; n.leader == nil {
			b.leaders[key] = n
		}
	}
	if e.parent != nil {
		parent := b.node(e.parent)
		parent.children = append(parent.children, n)
	}
	return n
}

func (n *node) sort() {
	slices.SortFunc(n.children, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	for _, c := range n.children {
		c.sort()
	}
}

// check refuses a plan that speaks of what the copy does not have.
func (l *layout) check(t *Tree, plan Plan) error {
	for _, p := range slices.Sorted(maps.Keys(plan.Override)) {
		if err := l.present(t, p); err != nil {
			return fmt.Errorf("plan copy: override of %q: %w", p, err)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(plan.Contents)) {
		if err := l.present(t, p); err != nil {
			return fmt.Errorf("plan copy: contents of %q: %w", p, err)
		}
		if e, _ := t.Lookup(p); e.Kind != Regular {
			return fmt.Errorf("plan copy: contents of %q: %w but a %s", p, ErrNotRegular, e.Kind)
		}
	}
	return nil
}

// present says whether the plan may speak of a path: it is in the copy, or it
// would be if a layer could carry it.
func (l *layout) present(t *Tree, canonical string) error {
	e, ok := t.Lookup(canonical)
	switch {
	case !ok:
		return ErrNotExist
	case e.Path != canonical:
		return fmt.Errorf("its canonical path is %q: %w", e.Path, ErrNotExist)
	case l.lookup(canonical) == nil && uncarried(e) == "":
		return fmt.Errorf("the plan does not keep it: %w", ErrNotExist)
	}
	return nil
}

// add puts new entries into the layout.
func (l *layout) add(list []NewEntry, modTime time.Time) error {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b NewEntry) int { return strings.Compare(a.Path, b.Path) })
	for _, a := range list {
		if a.Path == "/" || path.Clean("/"+a.Path) != a.Path || strings.ContainsRune(a.Path, 0) {
			return fmt.Errorf("plan copy: add %q: not a canonical absolute path", a.Path)
		}
		if a.Kind != Directory && a.Kind != Regular {
			return fmt.Errorf("plan copy: add %q: a %s cannot be added", a.Path, a.Kind)
		}
		dir, name := path.Split(a.Path)
		parent := l.lookup(strings.TrimSuffix(dir, "/"))
		if parent == nil || parent.kind != Directory {
			return fmt.Errorf("plan copy: add %q: its directory is not in the copy: %w", a.Path, ErrNotExist)
		}
		i, found := slices.BinarySearchFunc(parent.children, name, compareName)
		if found {
			return fmt.Errorf("plan copy: add %q: it is in the copy already: %w", a.Path, fs.ErrExist)
		}
		n := &node{path: a.Path, name: name, kind: a.Kind, meta: a.Metadata, time: a.ModTime}
		n.replaced, n.contents = a.Kind == Regular, a.Contents
		if n.time.IsZero() {
			n.time = modTime
		}
		parent.children = slices.Insert(parent.children, i, n)
	}
	return nil
}

// finish counts the layout and sorts the further names of hardlinked files out.
func (l *layout) finish(dir *node) {
	first := dir.children[:0]
	for _, c := range dir.children {
		if c.leader != nil {
			dir.links = append(dir.links, c)
		} else {
			first = append(first, c)
		}
		switch c.kind {
		case Directory:
			l.stats.Directories++
			l.finish(c)
		case Regular:
			l.stats.Files++
			if c.leader == nil {
				l.stats.Bytes += c.size()
			}
		default:
			l.stats.Files++
		}
	}
	dir.children = first
}

// size is what a regular file will have, in bytes.
func (n *node) size() int64 {
	if n.replaced {
		return int64(len(n.contents))
	}
	return n.src.Size
}

// lookup finds a canonical path, "" for the root.
func (l *layout) lookup(canonical string) *node {
	n := l.root
	for rest := strings.TrimPrefix(canonical, "/"); rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		i, ok := slices.BinarySearchFunc(n.children, name, compareName)
		if !ok {
			return nil
		}
		n = n.children[i]
	}
	return n
}

func compareName(n *node, name string) int { return strings.Compare(n.name, name) }
