package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/ci"
	"github.com/temper-images/temper/client/evidence"
	"github.com/temper-images/temper/client/frontend"
	"github.com/temper-images/temper/client/gate"
	"github.com/temper-images/temper/client/inspect"
	"github.com/temper-images/temper/client/provenance"
	"github.com/temper-images/temper/client/scan"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/client/vex"
)

// Evidence is what was made about the images of a set.
type Evidence struct {
	Images []*ImageEvidence
	// URL is the store.
	URL string
	// Signed says that the documents are signed.
	Signed bool
	// Report is the file of the HTML page, or empty.
	Report string
}

// ImageEvidence is what was made about one image.
type ImageEvidence struct {
	Image *subject.Image
	// Documents are all documents, without signatures.
	Documents []artifact.Artifact
	// Gate and Inspection are the decisions; nil when nobody asked.
	Gate       *gate.Result
	Inspection *inspect.Document
	// Receipt says where everything was stored.
	Receipt *evidence.Receipt

	// signatures are of the documents, in the same names with endings.
	signatures []artifact.Artifact
	// recalled says that an earlier run made the documents.
	recalled bool
	// database is what the scan searched.
	database  *scan.Database
	buildkit  *provenance.Build
	policyErr error
}

// RefusedError says that gates refuse images. It wraps the gates' own errors.
type RefusedError struct {
	// Dir is where the documents about it lie.
	Dir string
	Err error
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%v\nThe documents about it are in %s. Nothing was signed or stored.", e.Err, e.Dir)
}

func (e *RefusedError) Unwrap() error { return e.Err }

// origin is what is known of the build of the images; nil when somebody else built
// them.
type origin struct {
	request     *build.Request
	result      *build.Result
	ci          *ci.Facts
	began       time.Time
	builderKind string
	buildkit    string
	frontend    *frontend.Frontend
	dockerfile  document
	stages      []stageLayout
}

// uncompressed finds the layers of the image as the builder sent them, where it did.
func (s *origin) uncompressed() func(digest.Digest) *io.SectionReader {
	if s == nil || s.result.Recompressed == nil {
		return nil
	}
	return s.result.Recompressed.Uncompressed
}

// Make makes the evidence about images that exist already.
func Make(ctx context.Context, set *subject.Set, o Options) (*Evidence, error) {
	if err := o.preflight(ctx, document{}); err != nil {
		return nil, err
	}
	docs, err := o.vexDocuments()
	if err != nil {
		return nil, err
	}
	db := o.openDatabase(ctx, func(error) {})
	e, err := o.make(ctx, set, db, docs, nil, nil)
	return e, errors.Join(err, db.close())
}

// make makes, judges, signs and stores the evidence, and publishes the images where
// that is asked for.
func (o Options) make(ctx context.Context, set *subject.Set, db *pending, docs []*vex.Document, src *origin, to *publication) (out *Evidence, err error) {
	p, err := o.openPast(ctx, set, db, docs, src)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	out = &Evidence{}
	// One image after the other: what is done for one keeps all processors busy, and
	// memory holds one file system at a time.
	for _, img := range set.Images {
		e, err := o.examine(ctx, img, db, docs, src, p)
		if err != nil {
			return nil, err
		}
		out.Images = append(out.Images, e)
	}
	if err := out.refused(set); err != nil {
		return out, err
	}
	if to != nil && to.dry {
		return out, to.plan(out)
	}
	if err := p.remember(out); err != nil {
		return out, err
	}
	// The catalogues are done with; opening an encrypted key takes 64 MiB (scrypt, as
	// Cosign sets it) that would come on top of what they leave.
	debug.FreeOSMemory()
	// The key is read when what it signs is there, and closed with the last signature.
	signer, err := o.openSigner(ctx)
	if err != nil {
		return out, err
	}
	if signer != nil {
		defer func() { err = errors.Join(err, signer.Close()) }()
	}
	if err := o.keep(ctx, out, src, signer, p); err != nil {
		return out, err
	}
	if to != nil {
		if err := to.run(ctx, out, signer, p); err != nil {
			return out, err
		}
	}
	if err := o.page(ctx, out); err != nil {
		return out, err
	}
	return out, p.complete()
}

// refused gathers the gates' refusals, and writes what they are about.
func (e *Evidence) refused(set *subject.Set) error {
	var errs []error
	for _, img := range e.Images {
		if img.policyErr != nil {
			errs = append(errs, img.policyErr)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	dir := refusedDir(set)
	if err := e.write(dir); err != nil {
		return errors.Join(append(errs, err)...)
	}
	return &RefusedError{Dir: dir, Err: errors.Join(errs...)}
}

// vexDocuments reads the VEX documents that the settings name.
func (o Options) vexDocuments() ([]*vex.Document, error) {
	var out []*vex.Document
	for _, name := range o.Settings.Scan.VEX {
		d, err := readVEX(o.Settings.Dir, name)
		if err != nil {
			return nil, fmt.Errorf("scan.vex: %w", err)
		}
		out = append(out, d)
	}
	for _, name := range o.VEX {
		if name == AttachedVEX {
			continue
		}
		d, err := vex.ReadFile(name)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// maxVEX bounds a VEX document, in bytes.
const maxVEX = 32 << 20

// readVEX reads a document of the build context, and nothing outside of it.
func readVEX(dir, name string) (*vex.Document, error) {
	if dir == "" {
		return nil, fmt.Errorf("%s: the build context is not a directory on this machine: name the file with --vex", name)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dt, err := io.ReadAll(io.LimitReader(f, maxVEX+1))
	if err != nil {
		return nil, err
	}
	if len(dt) > maxVEX {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxVEX)
	}
	return vex.Read(name, dt)
}

// documentName is the name of a document about an image: "gate-nginx-amd64.json".
func documentName(kind string, img *subject.Image, ending string) string {
	return kind + "-" + img.Name + "-" + img.Arch() + ending
}

func digests(list []artifact.Artifact) slog.Attr {
	var attrs []any
	for _, a := range list {
		attrs = append(attrs, slog.String(a.Name, string(a.Digest())))
	}
	return slog.Group("digests", attrs...)
}

// made states the facts about documents.
func made(list []artifact.Artifact) []slog.Attr {
	size := 0
	for _, a := range list {
		size += len(a.Data)
	}
	return []slog.Attr{slog.Int("documents", len(list)), slog.Int("size_bytes", size), digests(list)}
}

func of(img *subject.Image) []slog.Attr {
	return []slog.Attr{slog.String("image", string(img.Digest)), slog.String("platform", img.Platform)}
}

// title is the name of a step about an image in the display.
func title(n int, what string, img *subject.Image) string {
	return fmt.Sprintf("[evidence %d/%d] %s %s", n, lastStep, what, strings.TrimPrefix(img.Platform, "linux/"))
}

// lastStep is the number of numbered steps.
const lastStep = 8
