package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Stats says what Copy wrote.
type Stats struct {
	// Files counts everything that is not a directory, each hardlink for itself.
	Files int
	// Directories counts directories without the root.
	Directories int
	// Bytes is the sum of the regular files' sizes, a hardlinked file once.
	Bytes int64
	// Notices say what could not be carried although the plan keeps it: sockets,
	// whiteouts, attributes of no consequence. They are sorted, and few.
	Notices []string
}

// Copy writes what the plan keeps of t into dst, which must be an empty
// directory. Owners, modes, modification times to the nanosecond, extended
// attributes, hardlinks among what is kept, holes, device numbers and symbolic
// links stay as they are, also those of the root directory itself; the access
// time becomes the modification time. Nothing that is written depends on the
// clock or on the order of the work.
//
// A hardlinked file whose first name is dropped lives on under its next one.
// Sockets and whiteouts are left out with a notice, SELinux labels and overlay
// attributes without: they belong to the host. Losing security.capability, a
// user attribute or an access control list is an error.
//
// An error names the path and wraps the system's (unix.ENOSPC for a full disk).
// After an error dst is emptied again.
func Copy(ctx context.Context, t *Tree, dst *os.Root, plan Plan) (Stats, error) {
	l, err := lay(t, plan)
	if err != nil {
		return Stats{}, err
	}
	to, err := openRoot(dst)
	if err != nil {
		return Stats{}, fmt.Errorf("copy root filesystem: open destination: %w", err)
	}
	defer to.file.Close()
	if err := checkEmpty(dst); err != nil {
		return Stats{}, err
	}
	g, groupCtx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	c := &copier{src: t.dir, dst: to, group: g, notices: &l.notices}
	c.buffers.New = func() any { return new(buffer) }
	g.Go(func() error { return c.directory(groupCtx, l.root) })
	err = g.Wait()
	if err == nil {
		err = c.links(ctx)
	}
	if err != nil {
		return Stats{}, errors.Join(err, removeAll(dst))
	}
	l.stats.Notices = l.notices.lines()
	return l.stats, nil
}

// checkEmpty refuses a destination that holds something.
func checkEmpty(dst *os.Root) error {
	names, err := list(dst, 1)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return fmt.Errorf("copy root filesystem: the destination holds %q; it must be empty", names[0])
	}
	return nil
}

// removeAll empties the destination.
func removeAll(dst *os.Root) error {
	names, err := list(dst, -1)
	for _, name := range names {
		if err := dst.RemoveAll(name); err != nil {
			return fmt.Errorf("remove incomplete copy: %w", err)
		}
	}
	return err
}

func list(dst *os.Root, limit int) ([]string, error) {
	f, err := dst.Open(".")
	if err != nil {
		return nil, fmt.Errorf("copy root filesystem: open destination: %w", err)
	}
	defer f.Close()
	names, err := f.Readdirnames(limit)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("copy root filesystem: list destination: %w", err)
	}
	return names, nil
}

type copier struct {
	src, dst directory
	group    *errgroup.Group
	notices  *notices
	buffers  sync.Pool // of *buffer
	// plainOnly is set once copy_file_range has failed.
	plainOnly atomic.Bool

	// mu guards linked: the directories that get further names of hardlinked
	// files once every file is there.
	mu     sync.Mutex
	linked []*node
}

// batch is how many files of one directory a worker copies in one go.
const batch = 128

// directory writes what n holds, then n's own metadata, then what lies below.
// n exists already. The order matters: a default access control list must not
// reach the children, and each child changes n's modification time.
func (c *copier) directory(ctx context.Context, n *node) error {
	if err := c.fill(ctx, n); err != nil {
		return err
	}
	for _, child := range n.children {
		if child.kind != Directory {
			continue
		}
		below := func() error { return c.directory(ctx, child) }
		if !c.group.TryGo(below) {
			if err := below(); err != nil {
				return err
			}
		}
	}
	return nil
}

// fill writes what lies directly in n, and n's own metadata. It holds no
// descriptor when it returns.
func (c *copier) fill(ctx context.Context, n *node) error {
	p, err := c.place(n)
	if err != nil {
		return err
	}
	defer p.close()
	if err := c.children(ctx, p, n.children); err != nil {
		return err
	}
	if len(n.links) > 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.linked = append(c.linked, n)
		return nil
	}
	return c.finishDirectory(p, n)
}

// children writes the entries of one directory, shared among the workers that
// have nothing else to do.
func (c *copier) children(ctx context.Context, p place, list []*node) error {
	var others sync.WaitGroup
	defer others.Wait()
	for len(list) > batch {
		part := list[:batch]
		list = list[batch:]
		others.Add(1)
		run := func() error {
			defer others.Done()
			return c.entries(ctx, p, part)
		}
		// An error of another worker reaches the group and ends the context.
		if !c.group.TryGo(run) {
			if err := run(); err != nil {
				return err
			}
		}
	}
	return c.entries(ctx, p, list)
}

func (c *copier) entries(ctx context.Context, p place, list []*node) error {
	for _, n := range list {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var err error
		switch n.kind {
		case Directory:
			err = retry(func() error { return unix.Mkdirat(p.dst, n.name, 0o700) })
		case Regular:
			err = c.file(ctx, p, n)
		default:
			err = c.special(p, n)
		}
		if err != nil {
			return fmt.Errorf("copy %s %q: %w", n.kind, n.path, err)
		}
	}
	return nil
}

// links gives hardlinked files their further names, and the directories that
// hold these their metadata. Every file has its first name by now.
func (c *copier) links(ctx context.Context) error {
	for _, n := range c.linked {
		p, err := c.place(n)
		if err != nil {
			return err
		}
		err = c.linksIn(ctx, p, n)
		p.close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) linksIn(ctx context.Context, p place, n *node) error {
	for _, link := range n.links {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := c.link(p, link); err != nil {
			return fmt.Errorf("copy %q: make hardlink to %q: %w", link.path, link.leader.path, err)
		}
	}
	return c.finishDirectory(p, n)
}
