package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"
)

const (
	// lockFile locks one journal. It lies in the journal's directory, and goes with
	// it.
	lockFile = "lock"
	// ownerFile says who has the journal open.
	ownerFile = "owner"
	// directoryLock is held, shared, while a journal's directory is made and its
	// lock taken, and exclusively while journals are removed: nobody locks a file
	// that is being removed.
	directoryLock = ".lock"
	// poll is how often a lock is tried that another process holds.
	poll = 100 * time.Millisecond
	// maxOwner bounds what is read of the owner, in bytes.
	maxOwner = 1 << 10
)

const (
	defaultKeep   = 100
	defaultMaxAge = 30 * 24 * time.Hour
)

// acquire makes the journal's directory and locks it.
func (j *Journal) acquire(ctx context.Context, o Options) (err error) {
	all := flock.New(filepath.Join(o.Dir, directoryLock))
	defer func() { err = errors.Join(err, all.Close()) }()
	if _, err := all.TryRLockContext(ctx, poll); err != nil {
		return waited(ctx, err)
	}
	if err := os.MkdirAll(j.dir, 0o700); err != nil {
		return err
	}
	lock := flock.New(filepath.Join(j.dir, lockFile))
	got, err := lock.TryLock()
	if err == nil && !got {
		o.Notice(fmt.Sprintf("waiting for another process that works on the same release: %s", owner(j.dir)))
		_, err = lock.TryLockContext(ctx, poll)
	}
	if err != nil {
		return errors.Join(waited(ctx, err), lock.Close())
	}
	j.lock = lock
	who := fmt.Sprintf("process %d: %s", os.Getpid(), cmp.Or(o.Owner, "temper"))
	return os.WriteFile(filepath.Join(j.dir, ownerFile), []byte(who[:min(len(who), maxOwner)]), 0o600)
}

// waited says why waiting for a lock ended.
func waited(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("waiting for another process: %w", context.Cause(ctx))
	}
	return fmt.Errorf("lock it: %w", err)
}

func owner(dir string) string {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "unknown"
	}
	defer root.Close()
	who, err := readAll(root, ownerFile, maxOwner)
	if err != nil || len(who) == 0 {
		return "unknown"
	}
	return trim(who)
}

func (j *Journal) release() error {
	if j.lock == nil {
		return nil
	}
	lock := j.lock
	j.lock = nil
	return lock.Close()
}

// prune removes the journals of other releases that are old or too many, the oldest
// first. One that is in use stays. That a journal cannot be removed is nothing that
// a release must end for.
func prune(o Options, own string) {
	keep, age := cmp.Or(o.Keep, defaultKeep), cmp.Or(o.MaxAge, defaultMaxAge)
	all := flock.New(filepath.Join(o.Dir, directoryLock))
	defer all.Close()
	if got, err := all.TryLock(); err != nil || !got {
		return
	}
	list, err := os.ReadDir(o.Dir)
	if err != nil {
		return
	}
	type old struct {
		dir  string
		used time.Time
	}
	var others []old
	for _, e := range list {
		if !e.IsDir() || e.Name() == own || !validID.MatchString(e.Name()) {
			continue
		}
		dir := filepath.Join(o.Dir, e.Name())
		fi, err := os.Stat(filepath.Join(dir, ownerFile))
		if err != nil {
			if fi, err = e.Info(); err != nil {
				continue
			}
		}
		others = append(others, old{dir, fi.ModTime()})
	}
	slices.SortFunc(others, func(a, b old) int {
		return cmp.Or(b.used.Compare(a.used), cmp.Compare(a.dir, b.dir))
	})
	for i, other := range others {
		if i < keep && o.Now.Sub(other.used) <= age {
			continue
		}
		lock := flock.New(filepath.Join(other.dir, lockFile))
		if got, err := lock.TryLock(); err == nil && got {
			_ = os.RemoveAll(other.dir)
		}
		_ = lock.Close()
	}
}
