package conformance

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// stockPackage is BuildKit's own frontend, as an image.
const stockPackage = "github.com/moby/buildkit/frontend/dockerfile/cmd/dockerfile-frontend"

// stockCaps is the label that BuildKit's own frontend image carries.
const stockCaps = "moby.buildkit.frontend.inputs,moby.buildkit.frontend.subrequests,moby.buildkit.frontend.contexts," +
	"moby.buildkit.frontend.gitquerystring,moby.buildkit.frontend.contexts.zstd"

// StockFrontend builds BuildKit's own frontend and writes its image to an OCI
// image archive in dir, whose name it returns.
func StockFrontend(ctx context.Context, root, dir string) (string, error) {
	binary := filepath.Join(dir, "dockerfile-frontend")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, stockPackage)
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", stockPackage, err, out)
	}
	img, err := programImage(binary, v1.Config{
		Entrypoint: []string{"/bin/dockerfile-frontend"},
		Labels:     map[string]string{"moby.buildkit.frontend.network.none": "true", "moby.buildkit.frontend.caps": stockCaps},
	})
	if err != nil {
		return "", fmt.Errorf("make the image of BuildKit's frontend: %w", err)
	}
	return archiveImage(img, filepath.Join(dir, "stock"))
}

// TemperFrontend takes Temper's frontend image from an OCI image layout, adds an
// environment variable that sets the hardening level, since the suite has no way
// to pass a build argument to every build, and writes it to an OCI image archive
// in dir, whose name it returns.
func TemperFrontend(frontend string, level Mode, dir string) (string, error) {
	idx, err := layout.ImageIndexFromPath(frontend)
	if err != nil {
		return "", fmt.Errorf("open Temper's frontend image: %w: run make frontend", err)
	}
	m, err := idx.IndexManifest()
	if err != nil || len(m.Manifests) == 0 {
		return "", fmt.Errorf("open Temper's frontend image %s: no image in it (%w)", frontend, err)
	}
	img, err := idx.Image(m.Manifests[0].Digest)
	if err != nil {
		return "", fmt.Errorf("open Temper's frontend image: %w", err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		return "", fmt.Errorf("open Temper's frontend image: %w", err)
	}
	cfg := *file.Config.DeepCopy()
	cfg.Env = append(cfg.Env, "TEMPER_HARDEN_LEVEL="+string(level))
	img, err = mutate.Config(img, cfg)
	if err != nil {
		return "", fmt.Errorf("make the test variant of Temper's frontend image: %w", err)
	}
	return archiveImage(img, filepath.Join(dir, "temper-"+string(level)))
}

// programImage is an image with one program in /bin.
func programImage(binary string, cfg v1.Config) (v1.Image, error) {
	dt, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "bin/", Mode: 0o755}); err != nil {
		return nil, err
	}
	if err := w.WriteHeader(&tar.Header{Name: "bin/" + filepath.Base(binary), Mode: 0o755, Size: int64(len(dt))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(dt); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buf.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layer)
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, cfg
	return mutate.ConfigFile(img, file)
}

// archiveImage writes img as an OCI image layout below dir and packs that.
func archiveImage(img v1.Image, dir string) (string, error) {
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("write frontend image: %w", err)
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return "", fmt.Errorf("write frontend image: %w", err)
	}
	if err := path.AppendImage(img); err != nil {
		return "", fmt.Errorf("write frontend image: %w", err)
	}
	return dir + ".tar", Archive(dir, dir+".tar")
}
