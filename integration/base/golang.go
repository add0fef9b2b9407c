package base

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Golang returns a base like the image golang: Debian and, in /usr/local/go, the
// Go toolchain that this machine runs.
func Golang(ctx context.Context) (Layout, error) {
	under, err := Debian(ctx)
	if err != nil {
		return Layout{}, err
	}
	env, err := run(ctx, "", nil, "go", "env", "GOROOT", "GOVERSION")
	if err != nil {
		return Layout{}, fmt.Errorf("find the Go toolchain: %w", err)
	}
	goroot, version, _ := strings.Cut(strings.TrimSpace(env), "\n")

	dir, err := cached(ctx, "golang", []string{version, under.Digest}, func(_ context.Context, dir string) error {
		rootfs, toolchain := filepath.Join(dir, "rootfs.tar"), filepath.Join(dir, "go.tar")
		defer os.Remove(rootfs)
		defer os.Remove(toolchain)
		if err := under.layerTo(rootfs); err != nil {
			return err
		}
		if err := toolchainLayer(goroot, toolchain); err != nil {
			return fmt.Errorf("pack the Go toolchain %s: %w", goroot, err)
		}
		img, err := image(v1.Config{
			Env: []string{
				"PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
				"GOLANG_VERSION=" + strings.TrimPrefix(version, "go"), "GOTOOLCHAIN=local", "GOPATH=/go",
			},
			WorkingDir: "/go",
			Cmd:        []string{"bash"},
		}, rootfs, toolchain)
		if err != nil {
			return err
		}
		return write(dir, img)
	})
	if err != nil {
		return Layout{}, err
	}
	return open(dir)
}

// layerTo writes the uncompressed archive of a base that has one layer.
func (l Layout) layerTo(file string) error {
	img, err := l.Image()
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	r, err := layers[0].Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, r); err != nil {
		return err
	}
	return out.Close()
}

// toolchainLayer packs what a build needs of a Go tree.
func toolchainLayer(goroot, file string) error {
	goroot, err := filepath.EvalSymlinks(goroot)
	if err != nil {
		return err
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	w := tar.NewWriter(out)
	err = filepath.WalkDir(goroot, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(goroot, path)
		if err != nil {
			return err
		}
		switch rel {
		case "test", "doc", "api", "misc", ".git":
			return fs.SkipDir
		}
		if d.IsDir() && d.Name() == "testdata" {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() && !info.IsDir() {
			return nil
		}
		h, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		h.Name = strings.TrimSuffix(filepath.Join("usr/local/go", rel), "/.")
		if info.IsDir() {
			h.Name += "/"
		}
		h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "root", "root"
		if err := w.WriteHeader(h); err != nil || info.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	})
	if err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return out.Close()
}
