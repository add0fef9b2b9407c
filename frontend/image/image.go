// Package image makes the frontend image out of the frontend's binary, with no
// builder and no registry. It makes the same image as Dockerfile.frontend, and
// equal binaries give equal digests.
package image

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Program is the binary's path in the image, which is also its entrypoint.
const Program = "/temper-frontend"

// Labels are the image's labels. BuildKit reads the first two: what a request may
// ask of the frontend, and that it needs no network.
var Labels = map[string]string{
	"moby.buildkit.frontend.caps": "moby.buildkit.frontend.inputs,moby.buildkit.frontend.subrequests,moby.buildkit.frontend.contexts," +
		"moby.buildkit.frontend.gitquerystring,moby.buildkit.frontend.contexts.zstd",
	"moby.buildkit.frontend.network.none": "true",
	ocispecs.AnnotationTitle:              "Temper frontend",
	ocispecs.AnnotationDescription:        "BuildKit frontend that turns an ordinary Dockerfile into a hardened, single-layer, non-root image",
	ocispecs.AnnotationLicenses:           "Apache-2.0",
	ocispecs.AnnotationSource:             "https://github.com/temper-images/temper",
}

// maxBinary bounds the binary, in bytes.
const maxBinary = 1 << 30

// BinaryError says that a file cannot be the frontend's program.
type BinaryError struct {
	Path, Why string
}

func (e *BinaryError) Error() string {
	return fmt.Sprintf("frontend image: %s %s", e.Path, e.Why)
}

// Layout writes the image into an OCI layout directory (image-spec v1.1,
// image-layout.md), which is made when absent, and returns the digest of its
// manifest. The binary must be a static program for the platform, of which only
// Linux is possible. The directory's index names this image alone afterwards.
func Layout(ctx context.Context, binary, dir string, platform ocispecs.Platform) (digest.Digest, error) {
	dt, err := readBinary(binary, platform)
	if err != nil {
		return "", err
	}
	img, err := build(dt, platform)
	if err != nil {
		return "", fmt.Errorf("frontend image: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return "", context.Cause(ctx)
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return "", fmt.Errorf("frontend image: write %s: %w", dir, err)
	}
	if err := path.AppendImage(img, layout.WithPlatform(v1.Platform{
		OS: platform.OS, Architecture: platform.Architecture, Variant: platform.Variant,
		// Without it, oci-layout://DIR alone names nothing to docker buildx.
	}), layout.WithAnnotations(map[string]string{ocispecs.AnnotationRefName: "latest"})); err != nil {
		return "", fmt.Errorf("frontend image: write %s: %w", dir, err)
	}
	hash, err := img.Digest()
	if err != nil {
		return "", fmt.Errorf("frontend image: %w", err)
	}
	return digest.Digest(hash.String()), nil
}

// machines are the ELF machines of the platforms that the frontend is built for.
var machines = map[string]elf.Machine{
	"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "arm": elf.EM_ARM, "ppc64le": elf.EM_PPC64, "riscv64": elf.EM_RISCV, "s390x": elf.EM_S390,
}

// readBinary reads the program and refuses one that could not start in an image
// that holds nothing else.
func readBinary(name string, platform ocispecs.Platform) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("frontend image: %w", err)
	}
	defer f.Close()
	dt, err := io.ReadAll(io.LimitReader(f, maxBinary+1))
	if err != nil {
		return nil, fmt.Errorf("frontend image: %w", err)
	}
	if len(dt) > maxBinary {
		return nil, &BinaryError{name, "is too large to be the frontend"}
	}
	prog, err := elf.NewFile(bytes.NewReader(dt))
	if err != nil {
		return nil, &BinaryError{name, "is not a Linux program: build ./frontend/cmd/temper-frontend with GOOS=linux"}
	}
	defer prog.Close()
	if want, ok := machines[platform.Architecture]; platform.OS != "linux" || !ok || prog.Machine != want {
		return nil, &BinaryError{name, fmt.Sprintf("is for %v, not for %s/%s: build it with GOARCH=%s", prog.Machine, platform.OS, platform.Architecture, platform.Architecture)}
	}
	for _, p := range prog.Progs {
		if p.Type == elf.PT_INTERP {
			return nil, &BinaryError{name, "is linked dynamically, but the image holds no library: build it with CGO_ENABLED=0"}
		}
	}
	return dt, nil
}

func build(binary []byte, platform ocispecs.Platform) (v1.Image, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	epoch := time.Unix(0, 0).UTC()
	err := w.WriteHeader(&tar.Header{
		Name: Program[1:], Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(binary)), ModTime: epoch, Format: tar.FormatUSTAR,
	})
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(binary); err != nil {
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
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	img, err = mutate.Append(img, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "COPY temper-frontend " + Program, Comment: "temper"},
	})
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Created = v1.Time{Time: epoch}
	config.OS, config.Architecture, config.Variant = platform.OS, platform.Architecture, platform.Variant
	config.Config = v1.Config{Entrypoint: []string{Program}, Labels: Labels}
	return mutate.ConfigFile(img, config)
}
