package vulndb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	v6 "github.com/anchore/grype/grype/db/v6"
	"github.com/gofrs/flock"
	"github.com/spf13/afero"
)

const (
	descriptionFile = "description.json"
	useLock         = "in-use.lock"
	newPrefix       = ".new-"
	maxDescription  = 64 << 10
	lockRetry       = 100 * time.Millisecond
)

// store is a directory of databases, seen by one source.
type store struct{ Options }

// installed is a database that lies in the store.
type installed struct {
	dir string
	// Checked is when somebody last asked the source for a newer one.
	Checked time.Time `json:"-"`

	Source  string    `json:"source"`
	Archive string    `json:"archive"`
	Schema  string    `json:"schema"`
	Built   time.Time `json:"built"`
	Size    int64     `json:"size"`
	// Modified is the file's time in nanoseconds. With Size it tells a file that
	// nobody touched since it was checked.
	Modified int64 `json:"modified"`
	// Sum is the checksum of the file, as Grype writes it: "xxh64:HEX".
	Sum string `json:"sum"`
}

func (i *installed) file() string { return filepath.Join(i.dir, v6.VulnerabilityDBFileName) }

func (i *installed) invalid(err error) error { return &InvalidError{What: i.file(), Err: err} }

// link is the name of the symbolic link that says which database is current.
func (s store) link() string {
	if s.Source == "" || s.Source == DefaultSource() {
		return filepath.Join(s.Dir, modelDir)
	}
	sum := sha256.Sum256([]byte(s.Source))
	return filepath.Join(s.Dir, "source-"+hex.EncodeToString(sum[:8]))
}

var databaseDir = regexp.MustCompile(`^db-[0-9a-f]{64}$`)

// current reads which database is current. It is nil when there is none, and the
// error is an *InvalidError when there is something else.
func (s store) current() (*installed, error) {
	i, err := s.pointed()
	// Between reading the link and following it, another process may have made a newer
	// database current and removed the one that the link named.
	for range followAgain {
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		time.Sleep(followPause)
		i, err = s.pointed()
	}
	return i, err
}

// How often and after what pause a link is read again whose database is gone.
const (
	followAgain = 20
	followPause = 5 * time.Millisecond
)

// pointed follows the link once.
func (s store) pointed() (*installed, error) {
	link := s.link()
	target, err := os.Readlink(link)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil || !databaseDir.MatchString(target) {
		return nil, &InvalidError{What: link, Err: errors.New("it is no link to a database: remove it")}
	}
	i := &installed{dir: filepath.Join(s.Dir, target)}
	dt, err := readBounded(filepath.Join(i.dir, descriptionFile), maxDescription)
	if err == nil {
		err = json.Unmarshal(dt, i)
	}
	if err != nil {
		return nil, &InvalidError{What: i.dir, Err: err}
	}
	if dt, err := readBounded(s.checkedFile(), maxDescription); err == nil {
		// Without it, somebody asks once more.
		_ = i.Checked.UnmarshalText([]byte(strings.TrimSpace(string(dt))))
	}
	return i, nil
}

func (s store) checkedFile() string { return s.link() + ".checked" }

func (s store) markChecked(i *installed, now time.Time) error {
	i.Checked = now.UTC().Truncate(time.Second)
	dt, err := i.Checked.MarshalText()
	if err != nil {
		return err
	}
	return replaceFile(s.checkedFile(), append(dt, '\n'))
}

func replaceFile(file string, dt []byte) error {
	next := file + ".new"
	if err := os.WriteFile(next, dt, 0o644); err != nil { //nolint:gosec // others may read when the database was checked
		return err
	}
	return os.Rename(next, file)
}

func readBounded(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dt, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(dt)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", file, limit)
	}
	return dt, err
}

// untouched says that nobody wrote to the file since it was checked.
func (i *installed) untouched() bool {
	fi, err := os.Stat(i.file())
	return err == nil && fi.Mode().IsRegular() && fi.Size() == i.Size && fi.ModTime().UnixNano() == i.Modified
}

// verify reads the whole file and compares its checksum.
func (i *installed) verify(ctx context.Context) error {
	fi, err := os.Stat(i.file())
	if err != nil {
		return i.invalid(err)
	}
	if fi.Size() != i.Size {
		return i.invalid(fmt.Errorf("it has %d bytes instead of %d", fi.Size(), i.Size))
	}
	sum, err := v6.CalculateDBDigest(afero.NewOsFs(), i.file())
	if err != nil {
		return i.invalid(err)
	}
	if sum != i.Sum {
		return i.invalid(fmt.Errorf("its checksum is %s instead of %s", sum, i.Sum))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// use holds the database against being removed. It fails with fs.ErrNotExist when
// it was removed meanwhile.
func (i *installed) use(ctx context.Context) (*flock.Flock, error) {
	name := filepath.Join(i.dir, useLock)
	// Readers need no right to write, so that the store may be read-only.
	l := flock.New(name, flock.SetFlag(os.O_RDONLY))
	if _, err := l.TryRLockContext(ctx, lockRetry); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	held, err := l.Stat()
	if err == nil {
		var there fs.FileInfo
		if there, err = os.Stat(name); err == nil && !os.SameFile(held, there) {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// lock excludes other processes that would change the store.
func (s store) lock(ctx context.Context) (*flock.Flock, error) {
	if err := os.MkdirAll(s.Dir, 0o755); err != nil { //nolint:gosec // others may read the database
		return nil, fmt.Errorf("make the directory for vulnerability databases: %w", err)
	}
	l := flock.New(filepath.Join(s.Dir, "lock"))
	ok, err := l.TryLock()
	if err == nil && !ok {
		s.Progress(Progress{Step: Waiting})
		_, err = l.TryLockContext(ctx, lockRetry)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", s.Dir, err), l.Close())
	}
	return l, nil
}

// clean removes what processes that were killed left, and every database that no
// link points to and nobody reads. The store is locked.
func (s store) clean() error {
	list, err := os.ReadDir(s.Dir)
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, e := range list {
		if e.Type()&fs.ModeSymlink != 0 {
			if target, err := os.Readlink(filepath.Join(s.Dir, e.Name())); err == nil {
				wanted[target] = true
			}
		}
	}
	for _, e := range list {
		name := filepath.Join(s.Dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), newPrefix):
			err = errors.Join(err, os.RemoveAll(name))
		case databaseDir.MatchString(e.Name()) && !wanted[e.Name()]:
			err = errors.Join(err, removeUnused(name))
		}
	}
	return err
}

// removeUnused removes a database unless somebody reads it.
func removeUnused(dir string) error {
	l := flock.New(filepath.Join(dir, useLock))
	ok, err := l.TryLock()
	if err != nil || !ok {
		return errors.Join(err, l.Close())
	}
	return errors.Join(os.RemoveAll(dir), l.Close())
}

// point makes a database current, in one step for everybody who looks.
func (s store) point(i *installed) error {
	next := filepath.Join(s.Dir, newPrefix+"link")
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(filepath.Base(i.dir), next); err != nil {
		return err
	}
	return os.Rename(next, s.link())
}
