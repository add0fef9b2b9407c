package vulndb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	v6 "github.com/anchore/grype/grype/db/v6"
	"github.com/anchore/grype/grype/vulnerability"
	"github.com/gofrs/flock"
)

// Database is an open database. It may be used from several goroutines, and is to
// be closed.
type Database struct {
	vulnerability.Provider
	// Built is when it was built.
	Built time.Time
	// Schema is the version of its schema, "6.1.10".
	Schema string
	// Archive is the digest of the archive that it was in, "sha256:HEX": the
	// database's identity, wherever it came from.
	Archive string
	// Source is where it came from, without credentials.
	Source string
	// Path is the file.
	Path string
	// Warnings are for people to read.
	Warnings []string

	reader v6.Reader
	lock   *flock.Flock
}

// Close releases the file and lets it be removed.
func (d *Database) Close() error {
	return errors.Join(d.Provider.Close(), d.lock.Close())
}

// errGone says that a database was removed between finding and opening it.
var errGone = errors.New("it was replaced while it was being opened")

func (s store) open(ctx context.Context, i *installed) (*Database, error) {
	lock, err := i.use(ctx)
	for range 5 {
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		// Another process has removed it for a newer one.
		next, cerr := s.current()
		if cerr != nil {
			return nil, cerr
		}
		if next == nil {
			break
		}
		i = next
		lock, err = i.use(ctx)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, i.invalid(errors.Join(errGone, err))
	}
	d, err := i.open(ctx)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	d.lock = lock
	return d, nil
}

func (i *installed) open(ctx context.Context) (*Database, error) {
	if !i.untouched() {
		// A copied or restored file has another time; its content decides.
		if err := i.verify(ctx); err != nil {
			return nil, err
		}
	}
	reader, err := v6.NewReader(v6.Config{DBDirPath: i.dir})
	if err != nil {
		return nil, i.invalid(err)
	}
	return &Database{
		Provider: v6.NewVulnerabilityProvider(reader), reader: reader,
		Built: i.Built, Schema: i.Schema, Archive: i.Archive, Source: i.Source, Path: i.file(),
	}, nil
}

// Covers says whether the database has records for a distribution, by the ID and
// VERSION_ID of os-release. Without them a scan finds nothing, which is not the
// same as that there is nothing.
func (d *Database) Covers(id, version, codename string) (bool, error) {
	major, minor := majorMinor(version)
	list, err := d.reader.GetOperatingSystems(v6.OSSpecifier{Name: id, MajorVersion: major, MinorVersion: minor, LabelVersion: codename})
	if err != nil {
		return false, fmt.Errorf("ask the vulnerability database for %s %s: %w", id, version, err)
	}
	return len(list) > 0, nil
}

func majorMinor(version string) (major, minor string) {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ = strings.Cut(rest, ".")
	return major, minor
}
