package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/console"
	bkclient "github.com/moby/buildkit/client"
	"github.com/temper-images/temper/client/engine"
	"github.com/temper-images/temper/client/output"
	"github.com/temper-images/temper/client/recompress"
)

// exporterMoby is the image exporter of the BuildKit in a Docker engine.
const exporterMoby = "moby"

// exports are the outputs of one solve. They are in place after commit and gone
// after abort.
type exports struct {
	entries []bkclient.ExportEntry
	staged  []*staged
	// written are the destinations, as the user named them.
	written []string
	loads   []*loading
	// layout is what is compressed here, or nil. Whoever commits closes it.
	layout *recompress.Layout
}

// loading is an archive on its way into a Docker engine.
type loading struct {
	pipe *io.PipeWriter
	done chan struct{}
	said string
	err  error
}

// paths are where the outputs go and where they are written first. They must not
// be part of the build context.
func (ex *exports) paths() []string {
	var paths []string
	for _, s := range ex.staged {
		paths = append(paths, s.dest, s.tmp)
	}
	return paths
}

// prepare makes the entries of a solve. On success the result is to be committed
// or aborted.
func prepare(ctx context.Context, outputs []output.Output, r *Request, annotations map[string]string, epoch bool, find engineFinder) (_ *exports, err error) {
	ex := &exports{}
	defer func() {
		if err != nil {
			err = errors.Join(err, ex.abort(err))
		}
	}()
	stdoutUsed := false
	dirs := 0
	for _, o := range outputs {
		if o.Type == output.TypeCacheOnly {
			continue
		}
		attrs, err := o.ExporterAttrs(r.Tags, annotations, epoch)
		if err != nil {
			return nil, asInputError("--output", err)
		}
		entry := bkclient.ExportEntry{Type: o.Type, Attrs: attrs}
		switch {
		case o.Type == output.TypeImage:
			if find.inEngine && !o.Push() {
				entry.Type = exporterMoby
				entry.Attrs["prefer-image-digest"] = "true"
			}
		case o.Type == output.TypeLocal:
			entry.OutputDir = o.Dest
			ex.written = append(ex.written, o.Dest)
		case o.Dir():
			if dirs++; dirs > 1 {
				return nil, inputErrorf("BuildKit writes one OCI layout directory a build: write the others as archives, with -o type=oci,dest=FILE")
			}
			err = ex.addDir(&entry, o, r.Recompress)
		case o.Dest == "-":
			if stdoutUsed {
				return nil, inputErrorf("two outputs cannot both go to standard output")
			}
			stdoutUsed = true
			err = toStdout(&entry, r.Stdout)
		case o.Dest == "":
			err = ex.addLoad(ctx, &entry, find)
		default:
			err = ex.addFile(&entry, o)
		}
		if err != nil {
			return nil, err
		}
		ex.entries = append(ex.entries, entry)
	}
	return ex, nil
}

func (ex *exports) addDir(entry *bkclient.ExportEntry, o output.Output, re *recompress.Options) error {
	dest, err := resolveDest(o.Dest)
	if err != nil {
		return err
	}
	s, err := stageDir(dest)
	if err != nil {
		return err
	}
	ex.staged = append(ex.staged, s)
	ex.written = append(ex.written, o.Dest)
	entry.Attrs["tar"] = "false"
	if re == nil {
		entry.OutputDir = s.tmp
		return nil
	}
	opts := *re
	opts.Old = dest
	if ex.layout, err = recompress.New(s.tmp, opts); err != nil {
		return fmt.Errorf("output %s: %w", o.Dest, err)
	}
	entry.OutputStore = ex.layout.Store()
	entry.Attrs["compression"], entry.Attrs["force-compression"] = "uncompressed", "true"
	return nil
}

func (ex *exports) addFile(entry *bkclient.ExportEntry, o output.Output) error {
	dest, err := resolveDest(o.Dest)
	if err != nil {
		return err
	}
	s, err := stageFile(dest)
	if err != nil {
		return err
	}
	entry.Output = s.writer
	ex.staged = append(ex.staged, s)
	ex.written = append(ex.written, o.Dest)
	return nil
}

func toStdout(entry *bkclient.ExportEntry, w io.Writer) error {
	if w == nil {
		return inputErrorf("an output goes to standard output, and there is none")
	}
	if f, ok := w.(*os.File); ok {
		if _, err := console.ConsoleFromFile(f); err == nil {
			return inputErrorf("an archive is not written to a terminal: redirect standard output, or name a file")
		}
	}
	entry.Output = func(map[string]string) (io.WriteCloser, error) { return nopCloser{w}, nil }
	return nil
}

// engineFinder connects to the Docker engine when an output asks for it.
type engineFinder struct {
	// inEngine says that the solve runs in that engine.
	inEngine bool
	connect  func(context.Context) (*engine.Engine, error)
}

func (ex *exports) addLoad(ctx context.Context, entry *bkclient.ExportEntry, find engineFinder) error {
	if find.inEngine {
		entry.Type = exporterMoby
		entry.Attrs["prefer-image-digest"] = "true"
		return nil
	}
	e, err := find.connect(ctx)
	if err != nil {
		return fmt.Errorf("-o type=docker loads the image into a Docker engine, and none answers: %w; write an archive instead, with -o type=docker,dest=FILE", err)
	}
	oci, err := e.ContainerdStore(ctx)
	if err != nil {
		return errors.Join(err, e.Close())
	}
	if oci {
		// Such a store keeps the index with its attestations.
		entry.Type = output.TypeOCI
	}
	pr, pw := io.Pipe()
	l := &loading{pipe: pw, done: make(chan struct{})}
	ex.loads = append(ex.loads, l)
	go func() {
		defer close(l.done)
		l.said, l.err = e.Load(ctx, pr)
		pr.CloseWithError(l.err)
		l.err = errors.Join(l.err, e.Close())
	}()
	entry.Output = func(map[string]string) (io.WriteCloser, error) { return nopCloser{pw}, nil }
	return nil
}

// commit puts every output in its place. Messages say what else was done.
func (ex *exports) commit() (messages []string, err error) {
	for _, l := range ex.loads {
		if err := l.pipe.Close(); err != nil {
			return nil, err
		}
		if <-l.done; l.err != nil {
			return nil, l.err
		}
		messages = append(messages, l.said)
	}
	for _, s := range ex.staged {
		if err := s.commit(); err != nil {
			return nil, err
		}
	}
	return messages, nil
}

// abort removes what was written. It does nothing to what was committed.
func (ex *exports) abort(cause error) error {
	var errs []error
	for _, l := range ex.loads {
		l.pipe.CloseWithError(cause)
		<-l.done
	}
	if ex.layout != nil {
		errs = append(errs, ex.layout.Close())
		ex.layout = nil
	}
	for _, s := range ex.staged {
		errs = append(errs, s.abort())
	}
	return errors.Join(errs...)
}
