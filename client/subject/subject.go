// Package subject opens what evidence is about: the images in an OCI layout, an
// archive or a registry, one for each platform, with what is attached to them.
package subject

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	digest "github.com/opencontainers/go-digest"

	"github.com/temper-images/temper/client/ocilayout"
)

// Options say which images are wanted and how a registry is asked. The zero value
// takes every platform and asks anonymously over HTTPS.
type Options struct {
	// Platforms choose among the images of an index, "linux/amd64". Each must be there.
	Platforms []string
	// Keychain has the registries' credentials.
	Keychain authn.Keychain
	// Insecure allows HTTP, and HTTPS with a certificate that nobody vouches for.
	Insecure bool
}

// Set is the images that Open found.
type Set struct {
	// Spec is what Open was given.
	Spec string
	// Images are sorted by platform. There is at least one.
	Images []*Image

	close func() error
}

// Close releases the files behind the images.
func (s *Set) Close() error { return s.close() }

// Image is one platform's image.
type Image struct {
	// Name is short and fit for file names: "nginx" of nginx.oci, "app" of
	// registry.example.com/team/app:1.
	Name string
	// Reference is the full name in a registry, as it was given or as the layout
	// records it: "registry.example.com/team/app:1". It is empty when there is none.
	Reference string
	// Platform is "linux/amd64" or "linux/arm/v7".
	Platform string
	// Digest is the digest of the image's manifest, never of an index.
	Digest digest.Digest
	// Index is the digest of the index that lists the image, or empty.
	Index digest.Digest
	// Created is the configuration's time, the epoch for documents about the
	// image. It is the zero time when the configuration has none.
	Created time.Time
	// Image reads manifest, configuration and layers. Manifest and configuration
	// are checked against their digests; whoever reads a layer checks its own.
	Image v1.Image

	attached []attachment
}

// Arch is the platform without the operating system, for paths: "amd64",
// "arm-v7". Other operating systems than Linux keep theirs: "windows-amd64".
func (i *Image) Arch() string {
	return strings.ReplaceAll(strings.TrimPrefix(i.Platform, "linux/"), "/", "-")
}

// InputError says that there is no such subject, or that it is none.
type InputError struct {
	// Spec is what the user named.
	Spec string
	Err  error
}

func (e *InputError) Error() string { return fmt.Sprintf("%s: %v", e.Spec, e.Err) }
func (e *InputError) Unwrap() error { return e.Err }

// UnreachableError says that a registry did not answer as one, so that nothing
// is known of the subject.
type UnreachableError struct {
	Spec string
	Err  error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("%s: ask the registry: %v", e.Spec, e.Err)
}
func (e *UnreachableError) Unwrap() error { return e.Err }

// Open finds the images of spec: the directory of an OCI layout, with :TAG or
// @DIGEST behind it when it holds several; an OCI or Docker archive; or a
// registry's reference. What exists as a file wins over a reference of the same
// spelling. Errors are *InputError and *UnreachableError, or of the context. The
// set is to be closed.
func Open(ctx context.Context, spec string, o Options) (*Set, error) {
	s, err := open(ctx, spec, o)
	if err != nil {
		var unreachable *UnreachableError
		if ctx.Err() != nil || errors.As(err, &unreachable) {
			return nil, err
		}
		return nil, &InputError{Spec: spec, Err: err}
	}
	if err := s.choose(o.Platforms); err != nil {
		return nil, &InputError{Spec: spec, Err: errors.Join(err, s.Close())}
	}
	s.Spec = spec
	return s, nil
}

func open(ctx context.Context, spec string, o Options) (*Set, error) {
	if spec == "" {
		return nil, errors.New("the name is empty: give an OCI layout, an archive or a registry reference")
	}
	if dir, ref, ok := ocilayout.ParseRef(spec); ok {
		return openLayout(dir, ref)
	}
	fi, err := os.Stat(spec)
	switch {
	case err == nil && fi.IsDir():
		return openLayout(spec, "")
	case err == nil:
		return openArchive(spec)
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid):
		// A name that no file can have may still be a reference.
		if isPath(spec) {
			return nil, err
		}
	}
	if dir, ref, ok := ocilayout.ParseRef("oci-layout://" + spec); ok && ref != "" {
		if fi, err := os.Stat(dir); err == nil && fi.IsDir() {
			return openLayout(dir, ref)
		}
	}
	if isPath(spec) {
		return nil, errors.New("there is no such file or directory")
	}
	return openRemote(ctx, spec, o)
}

// isPath says that nobody would write a registry reference so.
func isPath(spec string) bool {
	return filepath.IsAbs(spec) || strings.HasPrefix(spec, "./") || strings.HasPrefix(spec, "../")
}

// choose keeps the images of the wanted platforms.
func (s *Set) choose(want []string) error {
	if len(s.Images) == 0 {
		return errors.New("there is no image in it")
	}
	slices.SortFunc(s.Images, func(a, b *Image) int { return strings.Compare(a.Platform, b.Platform) })
	var have []string
	for i, img := range s.Images {
		if i > 0 && img.Platform == s.Images[i-1].Platform && img.Digest != s.Images[i-1].Digest {
			return fmt.Errorf("there are two images for %s", img.Platform)
		}
		have = append(have, img.Platform)
	}
	s.Images = slices.CompactFunc(s.Images, func(a, b *Image) bool { return a.Digest == b.Digest })
	if len(want) == 0 {
		return nil
	}
	var chosen []*Image
	for _, w := range want {
		for name := range strings.SplitSeq(w, ",") {
			p, err := platforms.Parse(name)
			if err != nil {
				return fmt.Errorf("platform %q: %w", name, err)
			}
			name = platforms.FormatAll(platforms.Normalize(p))
			i := slices.IndexFunc(s.Images, func(img *Image) bool { return img.Platform == name })
			if i < 0 {
				return fmt.Errorf("there is no image for %s: it has %s", name, strings.Join(have, ", "))
			}
			if !slices.Contains(chosen, s.Images[i]) {
				chosen = append(chosen, s.Images[i])
			}
		}
	}
	s.Images = chosen
	return nil
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// name sets Name and Reference from a recorded or given reference, or from the
// path of the file.
func (i *Image) name(ref, file string) {
	if named, err := reference.ParseNormalizedNamed(ref); ref != "" && err == nil {
		i.Reference = named.String()
		i.Name = path.Base(reference.Path(named))
		return
	}
	base := filepath.Base(file)
	for _, ending := range []string{".gz", ".tar", ".oci"} {
		base = strings.TrimSuffix(base, ending)
	}
	if base = strings.Trim(notInNames.ReplaceAllString(base, "-"), ".-_"); base == "" {
		base = "image"
	}
	i.Name = base[:min(len(base), 100)]
}
