// Package base makes the base images that tests and the demonstration build on,
// as OCI image layouts, out of Debian packages: no image registry is asked.
//
// Packages come from wherever the machine's own apt configuration says, and the
// images carry the same configuration, so that "apt-get install" works in a
// build as it does on the machine. Bases are kept in the user's cache directory
// between runs, keyed by everything that decides their content.
package base

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// created is the creation time, in seconds since the epoch, that every base
// image states.
const created = 1_700_000_000

// Layout is a base image in an OCI image layout directory.
type Layout struct {
	// Dir is the directory. It belongs to the cache: do not write to it.
	Dir string
	// Digest is the image manifest's, "sha256:…".
	Digest string
}

// Ref is the layout as the value of a named build context.
func (l Layout) Ref() string { return "oci-layout://" + l.Dir + "@" + l.Digest }

// Image opens the image for reading.
func (l Layout) Image() (v1.Image, error) {
	digest, err := v1.NewHash(l.Digest)
	if err != nil {
		return nil, fmt.Errorf("open base image %s: %w", l.Dir, err)
	}
	idx, err := layout.ImageIndexFromPath(l.Dir)
	if err != nil {
		return nil, fmt.Errorf("open base image %s: %w", l.Dir, err)
	}
	return idx.Image(digest)
}

// open reads a layout directory that holds one image.
func open(dir string) (Layout, error) {
	idx, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return Layout{}, fmt.Errorf("open base image %s: %w", dir, err)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		return Layout{}, fmt.Errorf("open base image %s: %w", dir, err)
	}
	if len(m.Manifests) != 1 {
		return Layout{}, fmt.Errorf("open base image %s: %d images where one was expected", dir, len(m.Manifests))
	}
	return Layout{Dir: dir, Digest: m.Manifests[0].Digest.String()}, nil
}

// image is the image that has the layers of the tar files, bottom first.
// Layers are compressed quickly rather than well.
func image(cfg v1.Config, tars ...string) (v1.Image, error) {
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	for _, tar := range tars {
		layer, err := tarball.LayerFromFile(tar, tarball.WithMediaType(types.OCILayer))
		if err != nil {
			return nil, err
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			return nil, err
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Created.Time = createdTime()
	file.Config = cfg
	for i := range file.History {
		file.History[i] = v1.History{Created: file.Created, CreatedBy: "integration/base"}
	}
	return mutate.ConfigFile(img, file)
}

// write stores img in dir as an OCI image layout.
func write(dir string, img v1.Image) error {
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return path.AppendImage(img)
}

// run runs a command of the machine and returns what it printed. When it fails,
// the error holds its words.
func run(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	var out, all bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout = io.MultiWriter(&out, &all)
	cmd.Stderr = &all
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, all.String())
	}
	return out.String(), nil
}
