// Package vulndb keeps the vulnerability database of Grype (schema v6) on this
// machine: it fetches it, checks it, and opens it for any number of readers.
//
// A directory holds it. Each database lies in a directory of its own that never
// changes, and a symbolic link says which one is current, so that a reader sees
// one database or the next and never half of one:
//
//	DIR/lock                       held while a database is fetched or removed
//	DIR/downloads/HEX.part         archives on their way
//	DIR/db-HEX/vulnerability.db    the database of the archive with that SHA-256
//	DIR/6 -> db-HEX                the current one; Grype reads it too, with
//	                               GRYPE_DB_CACHE_DIR=DIR
//	DIR/source-HEX -> db-HEX       the current one of another source
package vulndb

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/adrg/xdg"
	v6 "github.com/anchore/grype/grype/db/v6"
	"github.com/anchore/grype/grype/db/v6/distribution"
	"github.com/google/go-containerregistry/pkg/authn"
)

// EnvDir names the environment variable that says where the database lies.
const EnvDir = "TEMPER_DB_DIR"

// The limits that the zero Options mean.
const (
	// DefaultMaxAge is how old a database may be, counted from when it was built.
	DefaultMaxAge = 5 * 24 * time.Hour
	// DefaultCheckInterval is how long nobody asks whether there is a newer one.
	DefaultCheckInterval = 2 * time.Hour
	defaultMaxArchive    = 2 << 30
	defaultMaxDatabase   = 16 << 30
)

// DefaultSource is where Grype itself gets its database.
func DefaultSource() string { return distribution.DefaultConfig().LatestURL }

// DefaultDir is $TEMPER_DB_DIR, or temper/db in the user's cache directory (XDG
// Base Directory Specification).
func DefaultDir() string {
	if dir := os.Getenv(EnvDir); dir != "" {
		return dir
	}
	return filepath.Join(xdg.CacheHome, "temper", "db")
}

// Options say where a database comes from and what is expected of it. The zero
// value is Grype's published database in the user's cache.
type Options struct {
	// Dir holds the databases. Empty means DefaultDir.
	Dir string
	// Source is where the database comes from; empty means DefaultSource. It is one of
	//   - the URL of a mirror, with or without "/v6/latest.json" at its end;
	//   - a file: an archive (tar, tar.gz, tar.zst) or the database itself;
	//   - oci-layout://DIR[:TAG][@DIGEST], an artifact with the archive as its only layer;
	//   - oci://REGISTRY/REPOSITORY[:TAG][@DIGEST], the same in a registry.
	Source string
	// Offline says that the network is not to be used: what is there must do.
	Offline bool
	// MaxAge is how old a database may be; zero means DefaultMaxAge, a negative
	// one that it may be of any age.
	MaxAge time.Duration
	// CheckInterval is how long nobody asks for a newer database after the last
	// time; zero means DefaultCheckInterval, a negative one that every time is
	// asked.
	CheckInterval time.Duration
	// MaxArchive and MaxDatabase bound the archive and what comes out of it, in
	// bytes. Zero means 2 GiB and 16 GiB.
	MaxArchive, MaxDatabase int64
	// Transport makes HTTP requests. Nil means http.DefaultTransport.
	Transport http.RoundTripper
	// Keychain has the credentials of registries; nil means none.
	Keychain authn.Keychain
	// Insecure allows a registry without TLS, or with a certificate that nobody
	// vouches for.
	Insecure bool
	// Progress is told how far a long step is, never from two goroutines at once.
	// It may be nil.
	Progress func(Progress)

	// firstDelay is the pause before the second attempt; zero means the library's.
	firstDelay time.Duration
}

// The values of Progress.Step.
const (
	Waiting     = "waiting for another process"
	Downloading = "downloading"
	Unpacking   = "unpacking"
	Indexing    = "indexing"
)

// Progress is how far a step is.
type Progress struct {
	Step string
	// Done and Total are bytes. Total is zero while it is not known.
	Done, Total int64
}

func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" {
		o.Dir = DefaultDir()
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o, err
	}
	// The path becomes part of an SQLite URI.
	if strings.ContainsAny(dir, "?#%") {
		return o, fmt.Errorf("the directory for vulnerability databases %q has one of the characters ? # %% in it: choose another by %s", dir, EnvDir)
	}
	o.Dir = dir
	if o.MaxAge == 0 {
		o.MaxAge = DefaultMaxAge
	}
	if o.CheckInterval == 0 {
		o.CheckInterval = DefaultCheckInterval
	}
	if o.MaxArchive == 0 {
		o.MaxArchive = defaultMaxArchive
	}
	if o.MaxDatabase == 0 {
		o.MaxDatabase = defaultMaxDatabase
	}
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	return o, nil
}

// source is Source in the words of a message.
func (o Options) source() string {
	if o.Source == "" {
		return DefaultSource()
	}
	return redactURL(o.Source)
}

// Open opens the database of o.Source, after it fetched one when there is none,
// when the one that is there is damaged, or when nobody asked for a newer one for a
// while. Age is counted until now. The errors are *MissingError, *StaleError and
// *InvalidError, or of the context. A server that cannot be asked is only a
// warning while the database that is there is young enough.
func Open(ctx context.Context, o Options, now time.Time) (*Database, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	src, err := newSource(o, o.Source)
	if err != nil {
		return nil, err
	}
	st := store{o}
	may := src.local() || !o.Offline
	cur, err := st.current()
	if err != nil && !may {
		return nil, err
	}
	var warnings []string
	if cur == nil || src.local() || may && st.due(cur, now) {
		if cur, warnings, err = st.renew(ctx, src, cur, may, now); err != nil {
			return nil, err
		}
	}
	if st.tooOld(cur, now) {
		return nil, st.stale(cur, now, nil)
	}
	d, err := st.open(ctx, cur)
	var damage *InvalidError
	if may && errors.As(err, &damage) {
		if cur, _, err = st.renew(ctx, src, nil, may, now); err != nil {
			return nil, err
		}
		warnings = append(warnings, fmt.Sprintf("the vulnerability database was damaged and has been fetched again: %s: %v", damage.What, damage.Err))
		d, err = st.open(ctx, cur)
	}
	if err != nil {
		return nil, err
	}
	d.Warnings = warnings
	return d, nil
}

// renew asks the source for something newer than cur, which may be nil. It keeps
// cur with a warning when a server cannot be asked.
func (s store) renew(ctx context.Context, src source, cur *installed, may bool, now time.Time) (*installed, []string, error) {
	if !may {
		return nil, nil, &MissingError{Source: s.source(), Dir: s.Dir}
	}
	got, err := s.fetch(ctx, src, now, false)
	var invalid *InvalidError
	switch {
	case err == nil:
		return got.installed, got.warnings, nil
	case ctx.Err() != nil:
		return nil, nil, context.Cause(ctx)
	case cur == nil && errors.As(err, &invalid):
		return nil, nil, err
	case cur == nil, src.local():
		return nil, nil, &MissingError{Source: s.source(), Dir: s.Dir, Err: err}
	case s.tooOld(cur, now):
		return nil, nil, s.stale(cur, now, err)
	}
	return cur, []string{fmt.Sprintf("no newer vulnerability database could be had, so the one of %s is used: %v", day(cur.Built), firstLine(err))}, nil
}

// Update fetches the newest database of o.Source, whenever the last one was
// fetched. Updated is false when what is there is the newest.
func Update(ctx context.Context, o Options, now time.Time) (s *Status, updated bool, err error) {
	o, err = o.withDefaults()
	if err != nil {
		return nil, false, err
	}
	if o.Offline {
		return nil, false, errors.New("update the vulnerability database: not while offline")
	}
	st := store{o}
	src, err := newSource(o, o.Source)
	if err != nil {
		return nil, false, err
	}
	fetched, err := st.fetch(ctx, src, now, false)
	if err != nil {
		if ctx.Err() != nil {
			return nil, false, context.Cause(ctx)
		}
		return nil, false, err
	}
	return st.status(fetched.installed, now, fetched.warnings), fetched.changed, nil
}

// Import makes the database in an archive file, a database file or an OCI
// artifact (as in Options.Source) the current one of o.Source, whatever is there.
func Import(ctx context.Context, o Options, from string, now time.Time) (*Status, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	st := store{o}
	src, err := newSource(o, from)
	if err != nil {
		return nil, err
	}
	fetched, err := st.fetch(ctx, src, now, true)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	return st.status(fetched.installed, now, fetched.warnings), nil
}

// Read says what is there, after it checked every byte of it. The error is a
// *MissingError or an *InvalidError; a stale database is no error here.
func Read(ctx context.Context, o Options, now time.Time) (*Status, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	st := store{o}
	installed, err := st.current()
	if err != nil {
		return nil, err
	}
	if installed == nil {
		return nil, &MissingError{Source: o.source(), Dir: o.Dir}
	}
	if err := installed.verify(ctx); err != nil {
		return nil, err
	}
	return st.status(installed, now, nil), nil
}

// Status is what is there.
type Status struct {
	// Path is the database file.
	Path string `json:"path"`
	// Source is where it came from, without credentials.
	Source string `json:"source"`
	// Archive is the digest of the archive that it was in.
	Archive string `json:"archive"`
	// Schema is the version of its schema, "6.1.10".
	Schema string    `json:"schema"`
	Built  time.Time `json:"built"`
	// Checked is when somebody last asked for a newer one.
	Checked time.Time `json:"checked"`
	// Size is the size of the file in bytes.
	Size int64 `json:"size"`
	// AgeSeconds is how old the database is.
	AgeSeconds int64 `json:"ageSeconds"`
	// Stale says that it is older than the limit.
	Stale    bool     `json:"stale"`
	Warnings []string `json:"warnings,omitempty"`
}

func (s store) status(i *installed, now time.Time, warnings []string) *Status {
	return &Status{
		Path: i.file(), Source: i.Source, Archive: i.Archive, Schema: i.Schema, Built: i.Built, Checked: i.Checked, Size: i.Size,
		AgeSeconds: int64(now.Sub(i.Built).Seconds()), Stale: s.tooOld(i, now), Warnings: warnings,
	}
}

func (s store) tooOld(i *installed, now time.Time) bool {
	return s.MaxAge > 0 && now.Sub(i.Built) > s.MaxAge
}

// due says that it is time to ask for a newer database.
func (s store) due(i *installed, now time.Time) bool {
	return s.CheckInterval < 0 || s.tooOld(i, now) || now.Sub(i.Checked) > s.CheckInterval || now.Before(i.Checked)
}

func (s store) stale(i *installed, now time.Time, err error) error {
	return &StaleError{Built: i.Built, Age: now.Sub(i.Built), Limit: s.MaxAge, Source: s.source(), Dir: s.Dir, Err: err}
}

// modelDir is the name by which Grype finds the current database.
var modelDir = fmt.Sprint(v6.ModelVersion)
