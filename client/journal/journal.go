// Package journal keeps what a release has done and made, so that a release that
// was killed can be run again and ends in the same state: append-only records, and
// files that are found by their digest. Both are on the disk when a call returns.
//
// A journal is a help and never the truth: a registry is asked what is there. A
// damaged journal is set aside, and the release starts a new one.
package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/adrg/xdg"
	"github.com/gofrs/flock"
	digest "github.com/opencontainers/go-digest"
)

const (
	// maxJournal bounds the records, in bytes. One run of a release makes some
	// hundred records of some hundred bytes.
	maxJournal = 16 << 20
	// startAnew is the size, in bytes, from which an opened journal begins anew.
	startAnew = maxJournal / 2
	// maxFile bounds one file, in bytes: a bundle with a statement.
	maxFile = 64 << 20
)

// The names in a journal's directory.
const (
	recordsFile = "journal.jsonl"
	damagedFile = "journal.damaged"
	filesDir    = "files"
)

// Options say where a journal is and what is kept. The zero value is usable.
type Options struct {
	// Dir holds the journals of all releases: DefaultDir when it is empty.
	Dir string
	// Now is when this run began. Records carry it, and journals are pruned by it.
	Now time.Time
	// Owner is what other processes are told that wait for this one: "temper release
	// registry.example.com/app:1".
	Owner string
	// Notice is told what a user may want to know: for whom this process waits, that
	// a damaged journal was set aside. Nil tells nobody.
	Notice func(string)
	// Keep is how many journals of other releases are kept, and MaxAge for how long.
	// Zero is 100, and 30 days.
	Keep   int
	MaxAge time.Duration
}

// DefaultDir is the directory of the journals: temper/releases in
// $XDG_STATE_HOME, which is ~/.local/state by default.
func DefaultDir() string { return filepath.Join(xdg.StateHome, "temper", "releases") }

// Journal is that of one release. It is locked against other processes until it is
// closed, and can be used by several goroutines at once.
type Journal struct {
	id, dir string
	now     time.Time
	root    *os.Root
	lock    *flock.Flock

	mu      sync.Mutex
	file    *os.File
	size    int64
	records []Record
	// names are the files by name: the last one of a name counts.
	names     map[string]entry
	completed bool
}

// Record is something that a release did.
type Record struct {
	// Time is when the run began that did it, in UTC.
	Time time.Time `json:"time"`
	// Op is what is done: "blob", "sign", "manifest", "tag".
	Op string `json:"op"`
	// State is "started" before, "done" after it.
	State string `json:"state,omitempty"`
	// On is what it is done to: a repository with a digest or a tag.
	On string `json:"on,omitempty"`
	// Note is more about it, for people.
	Note string `json:"note,omitempty"`

	// Name, Digest and Size are of a file, when Op is OpFile.
	Name   string        `json:"name,omitempty"`
	Digest digest.Digest `json:"digest,omitempty"`
	Size   int64         `json:"size,omitempty"`
}

// The records that the journal makes itself.
const (
	// OpFile says that there is a file.
	OpFile = "file"
	// OpComplete says that the release is complete.
	OpComplete = "complete"
)

// entry is a file by its content.
type entry struct {
	digest digest.Digest
	size   int64
}

var validID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,127}$`)

// ID is a release's id: the same inputs have the same id, and it says nothing of
// them.
func ID(inputs ...string) string {
	h := digest.SHA256.Digester()
	for _, in := range inputs {
		// The length keeps "ab", "c" and "a", "bc" apart.
		fmt.Fprintf(h.Hash(), "%d:%s", len(in), in)
	}
	return h.Digest().Encoded()[:32]
}

// Open opens the journal of the release id (see ID), or makes it. When another
// process has it open, Open waits until that one closes it or ends, or until ctx is
// cancelled. Journals of other releases that are old or too many are removed. The
// journal is to be closed.
func Open(ctx context.Context, id string, o Options) (*Journal, error) {
	if !validID.MatchString(id) {
		return nil, fmt.Errorf("open the journal of release %q: an id is made of a-z, 0-9 and -", id)
	}
	if o.Dir == "" {
		o.Dir = DefaultDir()
	}
	if o.Notice == nil {
		o.Notice = func(string) {}
	}
	j := &Journal{id: id, dir: filepath.Join(o.Dir, id), now: o.Now.UTC().Truncate(time.Second), names: map[string]entry{}}
	if err := j.open(ctx, o); err != nil {
		return nil, fmt.Errorf("open the journal of release %s: %w", id, err)
	}
	return j, nil
}

func (j *Journal) open(ctx context.Context, o Options) (err error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return err
	}
	if err := j.acquire(ctx, o); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, j.Close())
		}
	}()
	prune(o, j.id)
	if j.root, err = os.OpenRoot(j.dir); err != nil {
		return err
	}
	if err := j.root.Mkdir(filesDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return j.load(o.Notice)
}

// ID is the release's id.
func (j *Journal) ID() string { return j.id }

// Dir is the journal's directory.
func (j *Journal) Dir() string { return j.dir }

// Records are all records, the oldest first. The caller owns them.
func (j *Journal) Records() []Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.records)
}

// Append adds a record. It is on the disk when Append returns. Its Time is set.
func (j *Journal) Append(r Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.append(true, r)
}

// Note is Append for a record that nothing depends on: it outlives the process when
// Note returns, and is on the disk with what is appended or put after it.
func (j *Journal) Note(r Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.append(false, r)
}

func (j *Journal) append(sync bool, records ...Record) error {
	if j.file == nil {
		return fmt.Errorf("journal of release %s: it is closed", j.id)
	}
	var lines []byte
	for i := range records {
		records[i].Time = j.now
		line, err := records[i].line()
		if err != nil {
			return fmt.Errorf("journal of release %s: %w", j.id, err)
		}
		lines = append(lines, line...)
	}
	if j.size+int64(len(lines)) > maxJournal {
		return fmt.Errorf("journal of release %s: it is full with %d bytes; remove %s", j.id, j.size, j.dir)
	}
	_, err := j.file.Write(lines)
	if err == nil && sync {
		err = j.file.Sync()
	}
	if err != nil {
		// What is half written must not stand before what comes after it.
		err = errors.Join(err, j.file.Truncate(j.size))
		return fmt.Errorf("journal of release %s: write a record: %w", j.id, err)
	}
	j.size += int64(len(lines))
	for _, r := range records {
		j.remember(r)
	}
	return nil
}

func (j *Journal) remember(r Record) {
	j.records = append(j.records, r)
	switch r.Op {
	case OpFile:
		j.names[r.Name] = entry{r.Digest, r.Size}
	case OpComplete:
		j.completed = true
	}
}

// Complete notes that the release is complete.
func (j *Journal) Complete() error { return j.Append(Record{Op: OpComplete}) }

// Completed says whether the release was complete once. What a registry has may
// have changed since.
func (j *Journal) Completed() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.completed
}

// Close lets other processes have the journal.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var errs []error
	if j.file != nil {
		errs = append(errs, j.file.Close())
		j.file = nil
	}
	if j.root != nil {
		errs = append(errs, j.root.Close())
	}
	return errors.Join(append(errs, j.release())...)
}

// load reads the records, and sets aside what is damaged.
func (j *Journal) load(notice func(string)) error {
	data, err := readAll(j.root, recordsFile, startAnew)
	var records []Record
	whole := 0
	if err == nil {
		records, whole, err = parse(data)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		if err := j.setAside(); err != nil {
			return err
		}
		notice(fmt.Sprintf("the journal of release %s is set aside as %s: %v", j.id, filepath.Join(j.dir, damagedFile), err))
		records, whole = nil, 0
	}
	if j.file, err = j.root.OpenFile(recordsFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return err
	}
	if whole < len(data) {
		if err := j.file.Truncate(int64(whole)); err != nil {
			return err
		}
	}
	j.size = int64(whole)
	for _, r := range records {
		j.remember(r)
	}
	return syncDir(j.dir)
}

// setAside gives a damaged journal another name. An earlier one of that name goes.
func (j *Journal) setAside() error {
	if err := j.root.RemoveAll(damagedFile); err != nil {
		return err
	}
	return j.root.Rename(recordsFile, damagedFile)
}

// trim is a text as it may stand in a message.
func trim(b []byte) string {
	const longest = 200
	b = bytes.TrimSpace(b)
	return fmt.Sprintf("%q", b[:min(len(b), longest)])
}
