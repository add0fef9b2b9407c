package build

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/upload/uploadprovider"
	"github.com/moby/buildkit/util/archiveutil"
	"github.com/tonistiigi/fsutil"
)

// The largest Dockerfile that is read from standard input, and how much of the
// input is looked at to tell an archive from a Dockerfile, in bytes.
const (
	maxDockerfile = 16 << 20
	archiveHeader = 1024
)

// defaultDockerfile is the Dockerfile's name when nothing else is said.
const defaultDockerfile = "Dockerfile"

// inputs collects what a solve reads from the client.
type inputs struct {
	attrs   map[string]string
	mounts  map[string]fsutil.FS
	stores  map[string]content.Store
	session []session.Attachable
	// sharedKey lets BuildKit transfer only what changed since a build with the
	// same key.
	sharedKey string
	// caps are what the frontend must be able to do.
	caps map[string]struct{}
	// contextDir is the local context, or empty.
	contextDir string
	// dockerfile is how the user names the Dockerfile.
	dockerfile string

	closers []func() error
}

func (in *inputs) close() error {
	var errs []error
	for _, fn := range slices.Backward(in.closers) {
		errs = append(errs, fn())
	}
	return errors.Join(errs...)
}

// load prepares all inputs of r. hide are absolute paths that must not be part of
// a local context. On success the result is to be closed.
func load(ctx context.Context, r *Request, hide []string) (_ *inputs, err error) {
	in := &inputs{
		attrs:  map[string]string{},
		mounts: map[string]fsutil.FS{},
		stores: map[string]content.Store{},
		caps:   map[string]struct{}{},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.close())
		}
	}()
	if err := in.loadMain(r, hide); err != nil {
		return nil, err
	}
	if err := in.loadContexts(r.Contexts); err != nil {
		return nil, err
	}
	if err := in.loadFrontend(r.Frontend); err != nil {
		return nil, err
	}
	if len(in.caps) > 0 {
		names := make([]string, 0, len(in.caps))
		for name := range in.caps {
			names = append(names, name)
		}
		slices.Sort(names)
		in.attrs["frontend.caps"] = strings.Join(names, ",")
	}
	return in, ctx.Err()
}

func (in *inputs) loadMain(r *Request, hide []string) error {
	contextPath := r.Context
	if contextPath == "" {
		contextPath = "."
	}
	switch {
	case contextPath == "-" && r.Dockerfile == "-":
		return inputErrorf("standard input cannot be both the context and the Dockerfile")
	case contextPath == "-":
		return in.contextFromStdin(r)
	case isRemote(contextPath):
		in.attrs["context"] = contextPath
		if err := in.gitCaps(contextPath, ""); err != nil {
			return err
		}
		return in.dockerfileForRemote(r)
	}
	dir, err := contextDir(contextPath)
	if err != nil {
		return err
	}
	in.contextDir = dir
	if err := in.mountContext(dir, hide); err != nil {
		return err
	}
	return in.dockerfileForDir(r, contextPath)
}

func isRemote(s string) bool {
	if strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://") {
		return true
	}
	if _, err := os.Lstat(s); err == nil {
		return false
	}
	_, ok, _ := dfgitutil.ParseGitRef(s)
	return ok
}

func contextDir(path string) (string, error) {
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if target, lerr := os.Readlink(path); lerr == nil {
			return "", inputErrorf("build context %s is a symlink to %s, which does not exist", path, target)
		}
		return "", inputErrorf("build context %s does not exist: name a directory, a git or HTTP URL, or - for standard input", path)
	}
	if err != nil {
		return "", inputErrorf("build context: %w", err)
	}
	if !fi.IsDir() {
		return "", inputErrorf("build context %s is not a directory: a Dockerfile is named with -f, an archive is read with - < %s", path, path)
	}
	return filepath.Abs(path)
}

func (in *inputs) mountContext(dir string, hide []string) error {
	tree, err := fsutil.NewFS(dir)
	if err != nil {
		return fmt.Errorf("open build context %s: %w", dir, err)
	}
	var exclude []string
	for _, path := range hide {
		if rel, ok := below(dir, path); ok {
			exclude = append(exclude, escapePattern(rel))
		}
	}
	if len(exclude) > 0 {
		if tree, err = fsutil.NewFilterFS(tree, &fsutil.FilterOpt{ExcludePatterns: exclude}); err != nil {
			return fmt.Errorf("leave the output out of build context %s: %w", dir, err)
		}
	}
	in.mounts["context"] = tree
	in.sharedKey = sharedKey(dir)
	return nil
}

// below says where path lies below dir, both absolute, symlinks resolved as far
// as they exist.
func below(dir, path string) (string, bool) {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	if real, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(real, filepath.Base(path))
	}
	rel, err := filepath.Rel(dir, path)
	if err != nil || rel == "." || rel == ".." || strings.HasPrefix(rel, "../") {
		return "", false
	}
	return filepath.ToSlash(rel), true
}

// escapePattern makes a .dockerignore pattern that matches path and nothing else.
func escapePattern(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// sharedKey names a directory on this machine. Two directories never share a
// key, since equal names, sizes and times do not make equal files.
func sharedKey(dir string) string {
	host, _ := os.Hostname()
	sum := sha256.Sum256([]byte(host + "\x00" + dir))
	return filepath.Base(dir) + ":" + hex.EncodeToString(sum[:8])
}

func (in *inputs) contextFromStdin(r *Request) error {
	if r.Stdin == nil {
		return inputErrorf("the build context is - but there is no standard input")
	}
	rd := bufio.NewReaderSize(r.Stdin, archiveHeader)
	magic, err := rd.Peek(archiveHeader)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the build context from standard input: %w", err)
	}
	if len(magic) == 0 {
		return inputErrorf("the build context is - but standard input is empty")
	}
	if archiveutil.IsArchive(magic) {
		up := uploadprovider.New()
		in.attrs["context"] = up.Add(io.NopCloser(rd))
		in.session = append(in.session, up)
		in.dockerfile = r.Dockerfile
		in.setFilename(r.Dockerfile)
		return nil
	}
	if r.Dockerfile != "" {
		return inputErrorf("standard input is a Dockerfile, and -f %s names another", r.Dockerfile)
	}
	empty, err := in.tempDir("temper-context-")
	if err != nil {
		return err
	}
	if err := in.mountContext(empty, nil); err != nil {
		return err
	}
	return in.dockerfileFrom(rd)
}

func (in *inputs) setFilename(name string) {
	if name == "" {
		name = defaultDockerfile
	}
	in.attrs["filename"] = filepath.ToSlash(name)
}

// solveOpt puts the inputs into a solve.
func (in *inputs) solveOpt(so *bkclient.SolveOpt) {
	so.LocalMounts = in.mounts
	so.OCIStores = in.stores
	so.SharedKey = in.sharedKey
	so.Session = append(so.Session, in.session...)
	for k, v := range in.attrs {
		so.FrontendAttrs[k] = v
	}
}
