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
	"github.com/distribution/reference"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/upload/uploadprovider"
	"github.com/moby/buildkit/util/archiveutil"
	"github.com/moby/buildkit/util/gitutil"
	"github.com/temper-images/temper/client/frontend"
	"github.com/temper-images/temper/client/ocilayout"
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
		return "", fmt.Errorf("Dockerfile %s: %w", path, err)
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

// gitCaps asks for a frontend that understands the query of a git URL.
func (in *inputs) gitCaps(url, suffix string) error {
	if _, ok, _ := dfgitutil.ParseGitRef(url); !ok {
		return nil
	}
	ref, err := gitutil.ParseURL(url)
	if err != nil {
		return inputErrorf("git URL %s: %w", url, err)
	}
	if len(ref.Query) > 0 {
		in.caps["moby.buildkit.frontend.gitquerystring"+suffix] = struct{}{}
	}
	return nil
}

func (in *inputs) loadContexts(specs []string) error {
	for _, spec := range specs {
		key, value, ok := strings.Cut(spec, "=")
		if !ok || value == "" {
			return inputErrorf("--build-context %s: want NAME=VALUE", spec)
		}
		named, err := reference.ParseNormalizedNamed(key)
		if err != nil {
			return inputErrorf("--build-context %s: the name: %w", spec, err)
		}
		name := strings.TrimSuffix(reference.FamiliarString(named), ":latest")
		in.caps["moby.buildkit.frontend.contexts+forward"] = struct{}{}
		if err := in.loadContext(name, value); err != nil {
			return asInputError("--build-context "+spec, err)
		}
	}
	return nil
}

func (in *inputs) loadContext(name, value string) error {
	if dir, ref, ok := ocilayout.ParseRef(value); ok {
		return in.addLayout(name, dir, ref)
	}
	if isRemote(value) || strings.HasPrefix(value, "docker-image://") {
		in.attrs["context:"+name] = value
		return in.gitCaps(value, "+forward")
	}
	dir, err := contextDir(value)
	if err != nil {
		return err
	}
	tree, err := fsutil.NewFS(dir)
	if err != nil {
		return err
	}
	local := name
	if name == "context" || name == "dockerfile" {
		local = "_" + name
	}
	in.mounts[local] = tree
	in.attrs["context:"+name] = "local:" + local
	in.attrs["sharedkey:localdir:"+name] = sharedKey(dir)
	return nil
}

func (in *inputs) addLayout(name, dir, ref string) error {
	l, err := ocilayout.Open(dir)
	if err != nil {
		return err
	}
	in.closers = append(in.closers, l.Close)
	desc, err := l.Resolve(ref)
	if err != nil {
		return err
	}
	// The name of a store is part of the build's definition: the same for the
	// same layout, so that the cache is found again.
	store := "temper-" + sharedKeyHash(dir)
	in.stores[store] = l.Store()
	in.attrs["context:"+name] = "oci-layout://" + store + "@" + desc.Digest.String()
	return nil
}

func sharedKeyHash(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	sum := sha256.Sum256([]byte(dir))
	return hex.EncodeToString(sum[:12])
}

func (in *inputs) loadFrontend(f *frontend.Frontend) error {
	if f == nil {
		return errors.New("build: the request names no frontend")
	}
	if f.Ref == frontend.Stock {
		return nil
	}
	in.attrs["source"] = f.Ref
	if f.Layout == "" {
		return nil
	}
	if err := in.addLayout(f.Ref, f.Layout, f.Digest.String()); err != nil {
		return &frontend.InvalidError{Spec: f.Layout, Err: err}
	}
	return nil
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
