package image

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

var amd64 = ocispecs.Platform{OS: "linux", Architecture: "amd64"}

// program writes the smallest file that is an ELF program of a machine.
func program(t *testing.T, machine elf.Machine, segments ...elf.ProgType) string {
	t.Helper()
	var buf bytes.Buffer
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: uint16(len(segments)), Shentsize: 64}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	if err := binary.Write(&buf, binary.LittleEndian, h); err != nil {
		t.Fatal(err)
	}
	for _, s := range segments {
		if err := binary.Write(&buf, binary.LittleEndian, elf.Prog64{Type: uint32(s)}); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(name, buf.Bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestLayout(t *testing.T) {
	bin, dir := program(t, elf.EM_X86_64), filepath.Join(t.TempDir(), "layout")
	first, err := Layout(t.Context(), bin, dir, amd64)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(bin, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	// Over the first one: the index names one image all the same.
	second, err := Layout(t.Context(), bin, dir, amd64)
	if err != nil {
		t.Fatal(err)
	}
	if first != second {
		t.Errorf("digests %s and %s", first, second)
	}
	idx, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(idx); err != nil {
		t.Error(err)
	}
	manifest, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 || manifest.Manifests[0].Digest.String() != first.String() || manifest.Manifests[0].Platform.Architecture != "amd64" {
		t.Fatalf("index %+v", manifest)
	}
	img, err := idx.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if mt, err := img.MediaType(); err != nil || mt != types.OCIManifestSchema1 {
		t.Errorf("media type %s, %v", mt, err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Labels, config.Config.Labels); diff != "" {
		t.Errorf("labels %s", diff)
	}
	if config.Created.Unix() != 0 || config.OS != "linux" || config.Config.Entrypoint[0] != Program {
		t.Errorf("config %+v", config)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatal(layers, err)
	}
	rc, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	tr := tar.NewReader(rc)
	hdr, err := tr.Next()
	if err != nil || hdr.Name != "temper-frontend" || hdr.Mode != 0o755 || hdr.ModTime.Unix() != 0 {
		t.Fatal(hdr, err)
	}
	got, _ := io.ReadAll(tr)
	if want, _ := os.ReadFile(bin); !bytes.Equal(got, want) {
		t.Error("the program is not what was given")
	}
	if _, err := tr.Next(); err != io.EOF {
		t.Errorf("more than the program: %v", err)
	}
}

func TestLayoutRefuses(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for want, tt := range map[string]struct {
		bin      string
		platform ocispecs.Platform
	}{
		"is not a Linux program: build ./frontend/cmd/temper-frontend with GOOS=linux":       {text, amd64},
		"is for EM_AARCH64, not for linux/amd64: build it with GOARCH=amd64":                 {program(t, elf.EM_AARCH64), amd64},
		"is for EM_X86_64, not for windows/amd64: build it with GOARCH=amd64":                {program(t, elf.EM_X86_64), ocispecs.Platform{OS: "windows", Architecture: "amd64"}},
		"is linked dynamically, but the image holds no library: build it with CGO_ENABLED=0": {program(t, elf.EM_X86_64, elf.PT_LOAD, elf.PT_INTERP), amd64},
	} {
		dir := filepath.Join(t.TempDir(), "layout")
		_, err := Layout(t.Context(), tt.bin, dir, tt.platform)
		var typed *BinaryError
		if !errors.As(err, &typed) || typed.Why != want {
			t.Errorf("error %v, want %s", err, want)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s was written", dir)
		}
	}
	if _, err := Layout(t.Context(), "/no/such/file", t.TempDir(), amd64); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

// TestDockerfile proves that Dockerfile.frontend makes the image that this
// package makes.
func TestDockerfile(t *testing.T) {
	f, err := os.Open("../../Dockerfile.frontend")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	parsed, err := parser.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	stages, _, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{}
	for _, cmd := range stages[len(stages)-1].Commands {
		switch cmd := cmd.(type) {
		case *instructions.LabelCommand:
			for _, l := range cmd.Labels {
				labels[l.Key] = l.Value
			}
		case *instructions.CopyCommand:
			if cmd.DestPath != Program {
				t.Errorf("the program is copied to %s", cmd.DestPath)
			}
		case *instructions.EntrypointCommand:
			if diff := cmp.Diff([]string{Program}, cmd.CmdLine); diff != "" {
				t.Errorf("entrypoint %s", diff)
			}
		}
	}
	// The instruction parser leaves the quotes to the conversion.
	for k, v := range labels {
		labels[k] = string(bytes.Trim([]byte(v), `"`))
	}
	if diff := cmp.Diff(Labels, labels); diff != "" {
		t.Errorf("labels: -package +Dockerfile.frontend\n%s", diff)
	}
}
