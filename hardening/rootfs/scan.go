package rootfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// ScanOptions bounds what Scan accepts. A zero field means its default.
type ScanOptions struct {
	// MaxEntries is how many entries the tree may have; default 5,000,000.
	MaxEntries int
	// MaxDepth is how many directories may lie within each other; default 2,048,
	// the deepest that a path of PATH_MAX bytes names.
	MaxDepth int
	// MaxPath is the length in bytes of the longest path; default 32,768.
	MaxPath int
	// MaxPathBytes is the sum of the lengths of all paths and link targets, in
	// bytes; default 1 GiB. It bounds the memory that a tree takes.
	MaxPathBytes int64
	// MaxLink is the length in bytes of the longest symbolic link target;
	// default 4,096, the longest that Linux makes.
	MaxLink int
}

func (o ScanOptions) withDefaults() ScanOptions {
	o.MaxEntries = cmp.Or(o.MaxEntries, 5_000_000)
	o.MaxDepth = cmp.Or(o.MaxDepth, 2048)
	o.MaxPath = cmp.Or(o.MaxPath, 32<<10)
	o.MaxPathBytes = cmp.Or(o.MaxPathBytes, 1<<30)
	o.MaxLink = cmp.Or(o.MaxLink, 4096)
	return o
}

// LimitError says that a root filesystem goes beyond one of ScanOptions.
type LimitError struct {
	// Path is an entry that went beyond the limit.
	Path string
	// What is the thing that was counted, as in "directories within each other".
	What  string
	Limit int64
}

func (e *LimitError) Error() string {
	path := e.Path
	if len(path) > 128 {
		path = path[:128]
		return fmt.Sprintf("scan root filesystem: more than %d %s, below %q…", e.Limit, e.What, path)
	}
	return fmt.Sprintf("scan root filesystem: more than %d %s, at %q", e.Limit, e.What, path)
}

// Scan reads the names and metadata of everything in root, once, without
// following a symbolic link or opening anything but directories. Filesystems
// that are mounted inside root are part of it. The result does not depend on
// the order in which the filesystem lists names.
//
// The tree keeps its own handle of the root directory; root may be closed
// afterwards. The error is a *LimitError when root goes beyond opts.
func Scan(ctx context.Context, root *os.Root, opts ScanOptions) (*Tree, error) {
	dir, err := openRoot(root)
	if err != nil {
		return nil, fmt.Errorf("scan root filesystem: %w", err)
	}
	top := &Entry{Path: "/"}
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(int(dir.file.Fd()), &st) }); err != nil {
		return nil, fmt.Errorf("scan root filesystem: stat %q: %w", "/", err)
	}
	if err := top.fill(&st); err != nil {
		return nil, fmt.Errorf("scan root filesystem: %q: %w", "/", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	s := &scanner{dir: dir, opts: opts.withDefaults(), group: g}
	s.entries.Store(1)
	g.Go(func() error { return s.scan(ctx, top, 1) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	entries := make([]*Entry, 0, s.entries.Load())
	return &Tree{dir: dir, root: top, entries: appendSorted(entries, top)}, nil
}

type scanner struct {
	dir   directory
	opts  ScanOptions
	group *errgroup.Group

	entries   atomic.Int64
	pathBytes atomic.Int64
}

// scan reads the directory e, which lies depth levels deep, and all below it.
func (s *scanner) scan(ctx context.Context, e *Entry, depth int) error {
	if depth > s.opts.MaxDepth {
		return &LimitError{Path: e.Path, What: "directories within each other", Limit: int64(s.opts.MaxDepth)}
	}
	if err := s.read(ctx, e); err != nil {
		return err
	}
	for _, c := range e.children {
		if c.Kind != Directory {
			continue
		}
		below := func() error { return s.scan(ctx, c, depth+1) }
		if !s.group.TryGo(below) {
			if err := below(); err != nil {
				return err
			}
		}
	}
	return nil
}

// read fills e.children. It holds no descriptor when it returns, so that a deep
// tree does not use them up.
func (s *scanner) read(ctx context.Context, e *Entry) error {
	fd, err := s.dir.open(e.Path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("scan root filesystem: open directory %q: %w", e.Path, err)
	}
	f := os.NewFile(uintptr(fd), e.Path)
	defer f.Close()

	prefix := strings.TrimSuffix(e.Path, "/") + "/"
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		names, err := f.Readdirnames(1024)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("scan root filesystem: list directory %q: %w", e.Path, err)
		}
		batch := make([]Entry, len(names))
		for i, name := range names {
			c := &batch[i]
			c.Path, c.parent = prefix+name, e
			if err := s.stat(fd, name, c); err != nil {
				return err
			}
			e.children = append(e.children, c)
		}
	}
	e.children = slices.Clip(e.children)
	slices.SortFunc(e.children, func(a, b *Entry) int { return strings.Compare(a.Path, b.Path) })
	return nil
}

// stat reads the metadata of one name in the directory fd.
func (s *scanner) stat(fd int, name string, c *Entry) error {
	if len(c.Path) > s.opts.MaxPath {
		return &LimitError{Path: c.Path, What: "bytes in a path", Limit: int64(s.opts.MaxPath)}
	}
	if s.entries.Add(1) > int64(s.opts.MaxEntries) {
		return &LimitError{Path: c.Path, What: "entries", Limit: int64(s.opts.MaxEntries)}
	}
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return fmt.Errorf("scan root filesystem: stat %q: %w", c.Path, err)
	}
	if err := c.fill(&st); err != nil {
		return fmt.Errorf("scan root filesystem: %q: %w", c.Path, err)
	}
	if c.Kind == Symlink {
		buf := make([]byte, min(int64(s.opts.MaxLink), max(st.Size, 255))+1)
		n, err := retryFD(func() (int, error) { return unix.Readlinkat(fd, name, buf) })
		if err != nil {
			return fmt.Errorf("scan root filesystem: read symbolic link %q: %w", c.Path, err)
		}
		if n == len(buf) {
			return &LimitError{Path: c.Path, What: "bytes in a symbolic link's target", Limit: int64(len(buf) - 1)}
		}
		c.Link = string(buf[:n])
	}
	if s.pathBytes.Add(int64(len(c.Path)+len(c.Link))) > s.opts.MaxPathBytes {
		return &LimitError{Path: c.Path, What: "bytes in all paths together", Limit: s.opts.MaxPathBytes}
	}
	return nil
}

// appendSorted appends e and all below it in the order of their paths' bytes.
// That is not the order of a walk: "/a-b" comes before "/a/b".
func appendSorted(list []*Entry, e *Entry) []*Entry {
	if e.parent == nil {
		list = append(list, e)
	}
	var open []*Entry // directories that are listed, but whose contents are not
	for _, c := range e.children {
		for len(open) > 0 && contentsBefore(open[len(open)-1].Path, c.Path) {
			list = appendSorted(list, open[len(open)-1])
			open = open[:len(open)-1]
		}
		list = append(list, c)
		if len(c.children) > 0 {
			open = append(open, c)
		}
	}
	for _, d := range slices.Backward(open) {
		list = appendSorted(list, d)
	}
	return list
}

// contentsBefore says that dir+"/" sorts before path, which itself sorts after
// dir.
func contentsBefore(dir, path string) bool {
	if !strings.HasPrefix(path, dir) {
		return true
	}
	return path[len(dir)] > '/'
}
