// Package frontend finds the Temper frontend that a build hands to BuildKit: a
// reference in a registry, an OCI layout, or the static binary, which it wraps
// into a layout.
package frontend

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/temper-images/temper/client/ocilayout"
)

// Env names the frontend when no option does.
const Env = "TEMPER_FRONTEND"

// Stock is BuildKit's own Dockerfile frontend, which hardens nothing.
const Stock = "dockerfile.v0"

// localRef is what a frontend from a layout is called inside a build.
const localRef = "temper/frontend:1"

// Names under which Locate looks for a frontend.
const (
	layoutName    = "temper-frontend-oci"
	layoutDirName = "frontend"
	binaryName    = "temper-frontend"
)

// Frontend is what converts the Dockerfile.
type Frontend struct {
	// Ref is the frontend's name for BuildKit's gateway, or Stock.
	Ref string
	// Layout is the OCI layout directory that holds it, and Digest its manifest
	// or index. They are empty when BuildKit is to pull Ref.
	Layout string
	Digest digest.Digest
	// Version is the label org.opencontainers.image.version, if there is one.
	Version string
	// Origin says where it was found and why there.
	Origin string
}

// Options say where to look.
type Options struct {
	// Spec is what the user named: a registry reference, oci-layout://DIR, the
	// path of a layout or of the static binary, or Stock. Empty means $Env.
	Spec string
	// Dirs are searched in order when nothing is named. Nil means DefaultDirs.
	Dirs []string
	// CacheDir keeps the layouts that are made of binaries. Empty means
	// temper/frontend in the user's cache directory.
	CacheDir string
}

// DefaultDirs are the directory of the running executable and share/temper
// beside it.
func DefaultDirs() []string {
	exe, err := os.Executable()
	if err != nil {
		return nil
	}
	if real, err := filepath.EvalSymlinks(exe); err == nil {
		exe = real
	}
	bin := filepath.Dir(exe)
	return []string{bin, filepath.Join(filepath.Dir(bin), "share", "temper")}
}

// MissingError says that there is no frontend.
type MissingError struct {
	// Looked lists the places.
	Looked []string
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("no Temper frontend found; looked for %s; run make build, or name one with --frontend or %s (REGISTRY/REF, oci-layout://DIR, or the path of the binary %s)",
		strings.Join(e.Looked, ", "), Env, binaryName)
}

// InvalidError says that what was named, or what lies where a frontend should,
// is none.
type InvalidError struct {
	Spec string
	Err  error
}

func (e *InvalidError) Error() string { return fmt.Sprintf("frontend %s: %v", e.Spec, e.Err) }
func (e *InvalidError) Unwrap() error { return e.Err }

// Locate finds the frontend. The error is a *MissingError, an *InvalidError, or
// says why a layout could not be made of a binary.
func Locate(ctx context.Context, o Options) (*Frontend, error) {
	if o.Spec != "" {
		return o.named(ctx, o.Spec, "as named")
	}
	if spec := os.Getenv(Env); spec != "" {
		return o.named(ctx, spec, "as "+Env+" says")
	}
	dirs := o.Dirs
	if dirs == nil {
		dirs = DefaultDirs()
	}
	var looked []string
	for _, dir := range dirs {
		for _, name := range []string{layoutName, layoutDirName} {
			path := filepath.Join(dir, name)
			f, err := fromLayout(path, "")
			if err == nil {
				return f, nil
			}
			if !errors.Is(err, ocilayout.ErrNotLayout) && !errors.Is(err, fs.ErrNotExist) {
				return nil, &InvalidError{Spec: path, Err: err}
			}
			looked = append(looked, path)
		}
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, binaryName)
		if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() {
			return o.fromBinary(ctx, path)
		}
		looked = append(looked, path)
	}
	return nil, &MissingError{Looked: looked}
}

func (o Options) named(ctx context.Context, spec, why string) (*Frontend, error) {
	f, err := o.parse(ctx, spec)
	if err != nil {
		return nil, err
	}
	f.Origin += ", " + why
	return f, nil
}

func (o Options) parse(ctx context.Context, spec string) (*Frontend, error) {
	if spec == Stock {
		return &Frontend{Ref: Stock, Origin: "BuildKit's own Dockerfile frontend"}, nil
	}
	if dir, ref, ok := ocilayout.ParseRef(spec); ok {
		f, err := fromLayout(dir, ref)
		if err != nil {
			return nil, &InvalidError{Spec: spec, Err: err}
		}
		return f, nil
	}
	fi, err := os.Stat(spec) //nolint:gosec // the one who builds names the program and the cache
	switch {
	case err == nil && fi.IsDir():
		f, err := fromLayout(spec, "")
		if err != nil {
			return nil, &InvalidError{Spec: spec, Err: err}
		}
		return f, nil
	case err == nil:
		return o.fromBinary(ctx, spec)
	case strings.HasPrefix(spec, ".") || filepath.IsAbs(spec):
		return nil, &MissingError{Looked: []string{spec}}
	}
	named, err := reference.ParseNormalizedNamed(spec)
	if err != nil {
		return nil, &InvalidError{Spec: spec, Err: fmt.Errorf("is neither a file nor an image reference: %w", err)}
	}
	return &Frontend{Ref: reference.TagNameOnly(named).String(), Origin: "registry"}, nil
}

// capsLabel is where a frontend image says what its frontend can do. BuildKit
// refuses named contexts to a frontend that does not say that it knows them.
const capsLabel = "moby.buildkit.frontend.caps"

func fromLayout(dir, ref string) (*Frontend, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	l, err := ocilayout.Open(dir)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	desc, err := l.Resolve(ref)
	if err != nil {
		return nil, err
	}
	f := &Frontend{Ref: localRef, Layout: dir, Digest: desc.Digest, Origin: "OCI layout " + dir}
	cfg, err := imageConfig(l, desc)
	if err != nil {
		return nil, err
	}
	if cfg.Config.Labels[capsLabel] == "" {
		return nil, fmt.Errorf("the image in %s is no BuildKit frontend: it has no label %s", dir, capsLabel)
	}
	f.Version = cfg.Config.Labels[ocispecs.AnnotationVersion]
	return f, nil
}

// imageConfig reads the configuration of the image, or of an index's first image
// that is for an operating system (attestations are for none).
func imageConfig(l *ocilayout.Layout, desc ocispecs.Descriptor) (*ocispecs.Image, error) {
	var doc struct {
		Config    ocispecs.Descriptor   `json:"config"`
		Manifests []ocispecs.Descriptor `json:"manifests"`
	}
	if err := l.ReadJSON(desc, &doc); err != nil {
		return nil, err
	}
	for _, m := range doc.Manifests {
		if m.Platform != nil && m.Platform.OS == "unknown" {
			continue
		}
		if err := l.ReadJSON(m, &doc); err != nil {
			return nil, err
		}
		break
	}
	var img ocispecs.Image
	if err := l.ReadJSON(doc.Config, &img); err != nil {
		return nil, err
	}
	return &img, nil
}
