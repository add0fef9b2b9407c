package conformance

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/temper-images/temper/integration/base"
	"github.com/temper-images/temper/integration/registry"
)

// standins are the images that the suite mirrors from a public registry, by the
// name under which it looks for them in its own registry first, each with the
// files that tell it from busybox.
var standins = map[string]map[string]string{
	"library/busybox:latest":              nil,
	"library/busybox:stable-musl":         nil,
	"library/alpine:latest":               {"etc/alpine-release": "3.18.0\n", "etc/os-release": "NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID=3.18.0\n"},
	"amd64/debian:bullseye-20230109-slim": {"etc/os-release": "NAME=\"Debian GNU/Linux\"\nID=debian\nVERSION_ID=\"11\"\n"},
	// Its own file system is missing: the one test that wants it is expected to fail.
	"tonistiigi/hellofs:latest": nil,
}

// fillMirror puts the stand-ins into a registry's storage.
func fillMirror(ctx context.Context, storage string) error {
	busybox, err := base.Busybox(ctx)
	if err != nil {
		return err
	}
	img, err := busybox.Image()
	if err != nil {
		return err
	}
	reg, err := registry.Start(ctx, storage)
	if err != nil {
		return err
	}
	defer reg.Stop()
	for to, files := range standins {
		variant, err := withFiles(img, files)
		if err != nil {
			return fmt.Errorf("make stand-in %s: %w", to, err)
		}
		ref, err := name.ParseReference(reg.Host + "/" + to)
		if err != nil {
			return fmt.Errorf("make stand-in %s: %w", to, err)
		}
		if err := remote.Write(ref, variant, remote.WithContext(ctx)); err != nil {
			return fmt.Errorf("make stand-in %s: %w", to, err)
		}
	}
	return nil
}

// withFiles rebuilds an image of one layer with more files in that layer: the
// suite counts layers.
func withFiles(img v1.Image, files map[string]string) (v1.Image, error) {
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	rc, err := layers[0].Uncompressed()
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	var buf bytes.Buffer
	in, out := tar.NewReader(rc), tar.NewWriter(&buf)
	for {
		h, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := out.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := io.Copy(out, in); err != nil {
			return nil, err
		}
	}
	for file, content := range files {
		if err := out.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: int64(len(content))}); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(out, content); err != nil {
			return nil, err
		}
	}
	if err := out.Close(); err != nil {
		return nil, err
	}
	// The suite expects compressed layers, as public images have.
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buf.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.RootFS.DiffIDs, file.History = nil, nil
	bare, err := mutate.ConfigFile(mutate.MediaType(empty.Image, types.OCIManifestSchema1), file)
	if err != nil {
		return nil, err
	}
	return mutate.Append(bare, mutate.Addendum{Layer: layer, History: v1.History{Created: file.Created, CreatedBy: "stand-in"}})
}
