package build

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tonistiigi/fsutil"
)

func (in *inputs) dockerfileForRemote(r *Request) error {
	switch {
	case r.Dockerfile == "-":
		return in.dockerfileFromStdin(r)
	case filepath.IsAbs(r.Dockerfile):
		in.attrs["dockerfilekey"] = "dockerfile"
		return in.mountDockerfile(r.Dockerfile)
	}
	in.dockerfile = r.Dockerfile
	in.setFilename(r.Dockerfile)
	return nil
}

func (in *inputs) dockerfileForDir(r *Request, contextPath string) error {
	switch r.Dockerfile {
	case "-":
		return in.dockerfileFromStdin(r)
	case "":
		return in.mountDockerfile(filepath.Join(contextPath, defaultDockerfile))
	}
	return in.mountDockerfile(r.Dockerfile)
}

func (in *inputs) dockerfileFromStdin(r *Request) error {
	if r.Stdin == nil {
		return inputErrorf("the Dockerfile is - but there is no standard input")
	}
	in.attrs["dockerfilekey"] = "dockerfile"
	return in.dockerfileFrom(r.Stdin)
}

func (in *inputs) dockerfileFrom(rd io.Reader) error {
	dir, err := in.tempDir("temper-dockerfile-")
	if err != nil {
		return err
	}
	dt, err := io.ReadAll(io.LimitReader(rd, maxDockerfile+1))
	if err != nil {
		return fmt.Errorf("read the Dockerfile from standard input: %w", err)
	}
	if len(dt) > maxDockerfile {
		return inputErrorf("the Dockerfile on standard input is larger than %d bytes", maxDockerfile)
	}
	if err := os.WriteFile(filepath.Join(dir, defaultDockerfile), dt, 0o600); err != nil {
		return fmt.Errorf("keep the Dockerfile of standard input: %w", err)
	}
	if err := in.mountDockerfile(filepath.Join(dir, defaultDockerfile)); err != nil {
		return err
	}
	in.dockerfile = "stdin"
	return nil
}

func (in *inputs) tempDir(prefix string) (string, error) {
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		return "", fmt.Errorf("make a temporary directory: %w", err)
	}
	in.closers = append(in.closers, func() error { return os.RemoveAll(dir) })
	return dir, nil
}

// mountDockerfile offers the directory of the Dockerfile, from which BuildKit
// takes that file, its .dockerignore and temper.yaml.
func (in *inputs) mountDockerfile(path string) error {
	in.dockerfile = path
	real, err := findDockerfile(path)
	if err != nil {
		return err
	}
	dir, name := filepath.Split(real)
	tree, err := fsutil.NewFS(filepath.Clean(dir))
	if err != nil {
		return fmt.Errorf("open the directory of %s: %w", path, err)
	}
	in.mounts["dockerfile"] = tree
	in.setFilename(name)
	return nil
}

// findDockerfile resolves a symlink that leads to another directory, which
// BuildKit could not follow, and the lower-case spelling.
func findDockerfile(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("find the Dockerfile %s: %w", path, err)
	}
	fi, err := os.Stat(abs)
	if errors.Is(err, fs.ErrNotExist) && filepath.Base(abs) == defaultDockerfile {
		lower := filepath.Join(filepath.Dir(abs), strings.ToLower(defaultDockerfile))
		if lfi, lerr := os.Stat(lower); lerr == nil {
			abs, fi, err = lower, lfi, nil
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if target, lerr := os.Readlink(abs); lerr == nil {
			return "", inputErrorf("the Dockerfile %s is a symlink to %s, which does not exist", path, target)
		}
		return "", inputErrorf("there is no Dockerfile %s: name another with -f", path)
	case err != nil:
		return "", inputErrorf("the Dockerfile: %w", err)
	case !fi.Mode().IsRegular():
		return "", inputErrorf("the Dockerfile %s is not a regular file", path)
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return "", inputErrorf("the Dockerfile: %w", err)
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", inputErrorf("the Dockerfile: %w", err)
	}
	if filepath.Dir(real) != dir {
		return real, nil
	}
	return filepath.Join(dir, filepath.Base(abs)), nil
}
