package vulndb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	v6 "github.com/anchore/grype/grype/db/v6"
	"github.com/spf13/afero"
)

// outcome is what fetching led to.
type outcome struct {
	installed *installed
	changed   bool
	warnings  []string
}

// fetch makes the newest database of src current, unless what is there is at least
// as new. Force takes it in any case. Processes that fetch the same wait for the
// first of them and take what it brought.
func (s store) fetch(ctx context.Context, src source, now time.Time, force bool) (_ *outcome, err error) {
	var before time.Time
	if cur, err := s.current(); err == nil && cur != nil {
		before = cur.Checked
	}
	lock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := s.clean(); err != nil {
		return nil, fmt.Errorf("clean up %s: %w", s.Dir, err)
	}
	cur, err := s.current()
	var invalid *InvalidError
	if err != nil && !errors.As(err, &invalid) {
		return nil, err
	}
	if cur != nil && !force && !src.local() && cur.Checked.After(before) && !s.tooOld(cur, now) {
		return &outcome{installed: cur}, nil
	}
	if cur != nil && !cur.untouched() && cur.verify(ctx) != nil {
		cur = nil
	}
	rel, err := src.latest(ctx)
	if err != nil {
		return nil, err
	}
	out := &outcome{installed: cur, warnings: rel.warnings}
	switch {
	case cur != nil && cur.Archive == rel.digest.String():
	case cur != nil && !force && !rel.built.IsZero() && !rel.built.After(cur.Built):
	default:
		if out.installed, err = s.install(ctx, rel); err != nil {
			return nil, err
		}
		out.changed = true
	}
	if out.changed {
		if err := s.point(out.installed); err != nil {
			return nil, fmt.Errorf("make the new vulnerability database current: %w", err)
		}
		// Nobody points to the last one now.
		if err := s.clean(); err != nil {
			return nil, fmt.Errorf("clean up %s: %w", s.Dir, err)
		}
	}
	return out, s.markChecked(out.installed, now)
}

// install brings an archive's database into the store. The store is locked.
func (s store) install(ctx context.Context, rel *release) (_ *installed, err error) {
	final := filepath.Join(s.Dir, "db-"+rel.digest.Encoded())
	if !databaseDir.MatchString(filepath.Base(final)) {
		return nil, &InvalidError{What: rel.name, Err: fmt.Errorf("its digest %s is no SHA-256", rel.digest)}
	}
	dir, err := os.MkdirTemp(s.Dir, newPrefix)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(s.explain(rel, err), os.RemoveAll(dir))
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // others may read the database
		return nil, err
	}
	if err := s.receive(ctx, rel, dir); err != nil {
		return nil, err
	}
	i, err := s.prepare(ctx, rel, dir)
	if err != nil {
		return nil, err
	}
	// Only a damaged one can be there already; whoever still reads it keeps its file.
	if err := os.RemoveAll(final); err != nil {
		return nil, err
	}
	if err := os.Rename(dir, final); err != nil {
		return nil, err
	}
	i.dir = final
	return i, nil
}

// receive unpacks the archive into dir.
func (s store) receive(ctx context.Context, rel *release, dir string) (err error) {
	rd, size, err := rel.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rd.Close()) }()
	if size > s.MaxArchive {
		return &InvalidError{What: rel.name, Err: fmt.Errorf("the archive is larger than %d bytes", s.MaxArchive)}
	}
	return unpack(ctx, s.Options, rd, size, rel.digest, dir)
}

// prepare makes the unpacked database ready for readers: indexes, checksum,
// description.
func (s store) prepare(ctx context.Context, rel *release, dir string) (*installed, error) {
	i := &installed{dir: dir, Source: s.source(), Archive: rel.digest.String()}
	s.Progress(Progress{Step: Indexing})
	done := make(chan error, 1)
	// The library cannot be interrupted. When the process is, the lock goes with
	// it, and whoever fetches next removes what is left.
	go func() { done <- v6.Hydrater()(dir) }()
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case err := <-done:
		if err != nil {
			return nil, fmt.Errorf("index the database: %w", err)
		}
	}
	desc, err := v6.ReadDescription(i.file())
	if err != nil {
		return nil, err
	}
	if !rel.built.IsZero() && !desc.Built.Equal(rel.built) {
		return nil, fmt.Errorf("it was built on %s, and its source says %s", day(desc.Built.Time), day(rel.built))
	}
	i.Built, i.Schema = desc.Built.UTC(), strings.TrimPrefix(desc.SchemaVersion.String(), "v")
	meta, err := v6.WriteImportMetadata(afero.NewOsFs(), dir, rel.name)
	if err != nil {
		return nil, err
	}
	i.Sum = meta.Digest
	fi, err := os.Stat(i.file())
	if err != nil {
		return nil, err
	}
	i.Size, i.Modified = fi.Size(), fi.ModTime().UnixNano()
	dt, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return nil, err
	}
	return i, errors.Join(
		os.WriteFile(filepath.Join(dir, descriptionFile), append(dt, '\n'), 0o644), //nolint:gosec // others may read it
		os.WriteFile(filepath.Join(dir, useLock), nil, 0o644),                      //nolint:gosec // whoever reads holds it
		syncFile(i.file()))
}

// syncFile brings a file to the disk, so that a power cut after the switch does
// not leave an empty database.
func syncFile(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// sqliteFull is SQLITE_FULL (the SQLite result codes, 13).
const sqliteFull = 13

// isFull says that there is no room left, which SQLite has its own word for.
func isFull(err error) bool {
	var code interface {
		error
		Code() int
	}
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.As(err, &code) && code.Code() == sqliteFull
}

// explain says whose fault a failed installation is.
func (s store) explain(rel *release, err error) error {
	var invalid *InvalidError
	var attempt *attemptError
	var pathErr *os.PathError
	switch {
	case isFull(err):
		return fmt.Errorf("there is no room for the vulnerability database in %s: make room, or choose another directory by %s: %w", s.Dir, EnvDir, err)
	case errors.As(err, &invalid), errors.As(err, &attempt), errors.As(err, &pathErr),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return &InvalidError{What: rel.name, Err: err}
}
