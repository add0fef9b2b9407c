package vulndb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	v6 "github.com/anchore/grype/grype/db/v6"
	"github.com/anchore/grype/grype/db/v6/distribution"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/temper-images/temper/client/ocilayout"
)

// maxLatest bounds latest.json, in bytes.
const maxLatest = 1 << 20

// source is where archives come from.
type source interface {
	// local says that asking costs no network.
	local() bool
	// latest asks for the newest archive.
	latest(ctx context.Context) (*release, error)
}

// release is an archive that a source has.
type release struct {
	// name is for people.
	name   string
	digest digest.Digest
	// built is zero when the source does not say.
	built    time.Time
	warnings []string
	// open reads the archive, which may mean to fetch it first. Whoever reads it
	// checks the digest.
	open func(ctx context.Context) (io.ReadCloser, int64, error)
}

func newSource(o Options, spec string) (source, error) {
	switch {
	case spec == "":
		return httpSource{o, DefaultSource()}, nil
	case strings.HasPrefix(spec, "http://"), strings.HasPrefix(spec, "https://"):
		return httpSource{o, spec}, nil
	case strings.HasPrefix(spec, "oci://"):
		return newRegistrySource(o, strings.TrimPrefix(spec, "oci://"))
	case strings.HasPrefix(spec, "oci-layout://"):
		dir, ref, _ := ocilayout.ParseRef(spec)
		return layoutSource{dir, ref}, nil
	case strings.Contains(spec, "://") && !strings.HasPrefix(spec, "file://"):
		return nil, fmt.Errorf("the vulnerability database %s: its address begins with none of http://, https://, oci://, oci-layout:// and file://", redactURL(spec))
	}
	return fileSource(strings.TrimPrefix(spec, "file://")), nil
}

// httpSource is a server that publishes latest.json as Grype's does.
type httpSource struct {
	Options
	base string
}

func (httpSource) local() bool { return false }

// latestURL allows the address of latest.json itself, or of what is above it.
func (h httpSource) latestURL() (*url.URL, error) {
	u, err := url.Parse(h.base)
	if err != nil {
		return nil, fmt.Errorf("the address of the vulnerability database: %w", err)
	}
	if !strings.HasSuffix(u.Path, ".json") {
		u = u.JoinPath("v"+modelDir, distribution.LatestFileName)
	}
	return u, nil
}

func (h httpSource) latest(ctx context.Context) (*release, error) {
	u, err := h.latestURL()
	if err != nil {
		return nil, err
	}
	g := getter{Options: h.Options, client: &http.Client{Transport: h.Transport}}
	dt, err := g.document(ctx, u, maxLatest)
	if err != nil {
		return nil, err
	}
	doc, err := distribution.NewLatestFromReader(strings.NewReader(string(dt)))
	if err == nil && doc == nil {
		err = errors.New("it is empty")
	}
	if err != nil {
		return nil, &InvalidError{What: u.Redacted(), Err: err}
	}
	if doc.SchemaVersion.Model != v6.ModelVersion {
		return nil, &InvalidError{What: u.Redacted(), Err: fmt.Errorf("it is of schema %s, and this temper reads schema %d", doc.SchemaVersion, v6.ModelVersion)}
	}
	sum, err := digest.Parse(doc.Checksum)
	if err != nil || sum.Algorithm() != digest.SHA256 {
		return nil, &InvalidError{What: u.Redacted(), Err: fmt.Errorf("it gives the archive the checksum %q, which is no SHA-256", doc.Checksum)}
	}
	archive := *u
	archive.Path = path.Join(path.Dir(u.Path), path.Clean("/"+doc.Path))
	archive.RawPath = ""
	r := &release{name: archive.Redacted(), digest: sum, built: doc.Built.Time}
	switch doc.Status {
	case distribution.StatusDeprecated:
		r.warnings = append(r.warnings, "the vulnerability database of this schema will soon not be published any more: update temper")
	case distribution.StatusEndOfLife:
		r.warnings = append(r.warnings, "the vulnerability database of this schema is not published any more: update temper")
	}
	r.open = func(ctx context.Context) (io.ReadCloser, int64, error) { return g.archive(ctx, &archive, sum) }
	return r, nil
}

// fileSource is an archive, or a database, in a file.
type fileSource string

func (fileSource) local() bool { return true }

func (f fileSource) open() (*os.File, int64, error) {
	file, err := os.Open(string(f))
	if err != nil {
		return nil, 0, err
	}
	fi, err := file.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: string(f), Err: errors.New("is not a regular file")}
	}
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, fi.Size(), nil
}

func (f fileSource) latest(ctx context.Context) (*release, error) {
	file, _, err := f.open()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	sum, err := digest.FromReader(contextReader{ctx, file})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f, err)
	}
	return &release{name: string(f), digest: sum, open: func(context.Context) (io.ReadCloser, int64, error) { return f.open() }}, nil
}

// layoutSource is an artifact in an OCI layout.
type layoutSource struct{ dir, ref string }

func (layoutSource) local() bool { return true }

func (l layoutSource) latest(context.Context) (*release, error) {
	layout, err := ocilayout.Open(l.dir)
	if err != nil {
		return nil, err
	}
	defer layout.Close()
	desc, err := layout.Resolve(l.ref)
	if err != nil {
		return nil, err
	}
	var m ocispecs.Manifest
	if err := layout.ReadJSON(desc, &m); err != nil {
		return nil, fmt.Errorf("manifest %s of OCI layout %s: %w", desc.Digest, l.dir, err)
	}
	if len(m.Layers) != 1 {
		return nil, fmt.Errorf("manifest %s of OCI layout %s has %d layers: an artifact with a vulnerability database has one, the archive", desc.Digest, l.dir, len(m.Layers))
	}
	blob := m.Layers[0]
	if err := blob.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("manifest %s of OCI layout %s: %w", desc.Digest, l.dir, err)
	}
	return &release{name: string(blob.Digest), digest: blob.Digest, open: func(ctx context.Context) (io.ReadCloser, int64, error) {
		again, err := ocilayout.Open(l.dir)
		if err != nil {
			return nil, 0, err
		}
		at, err := again.Store().ReaderAt(ctx, blob)
		if err != nil {
			return nil, 0, errors.Join(err, again.Close())
		}
		return struct {
			io.Reader
			io.Closer
		}{io.NewSectionReader(at, 0, at.Size()), closers{at, again}}, at.Size(), nil
	}}, nil
}

type closers []io.Closer

func (c closers) Close() error {
	var err error
	for _, one := range c {
		err = errors.Join(err, one.Close())
	}
	return err
}

// contextReader ends a long reading when the context ends.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(p)
}
