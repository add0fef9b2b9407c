package frontend

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/temper-images/temper/frontend/image"
)

// fromBinary makes a layout of the static binary at path, once for each content.
func (o Options) fromBinary(ctx context.Context, path string) (*Frontend, error) {
	key, err := hash(path)
	if err != nil {
		return nil, &InvalidError{Spec: path, Err: err}
	}
	cache := o.CacheDir
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("find a cache directory for the frontend image: %w; set XDG_CACHE_HOME", err)
		}
		cache = filepath.Join(dir, "temper", "frontend")
	}
	dir := filepath.Join(cache, key)
	f, err := fromLayout(dir, "")
	if err != nil {
		if err := makeLayout(ctx, path, dir); err != nil {
			return nil, err
		}
		if f, err = fromLayout(dir, ""); err != nil {
			return nil, fmt.Errorf("make an image of the frontend %s: %w", path, err)
		}
	}
	f.Origin = "binary " + path
	return f, nil
}

func hash(path string) (string, error) {
	f, err := os.Open(path) //nolint:gosec // the one who builds names the program and the cache
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// makeLayout puts a complete layout at dir in one step.
func makeLayout(ctx context.Context, binary, dir string) (err error) {
	fail := func(err error) error {
		return fmt.Errorf("make an image of the frontend %s: %w", binary, err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil { //nolint:gosec // the one who builds names the program and the cache
		return fail(err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }() //nolint:gosec // the one who builds names the program and the cache
	platform := ocispecs.Platform{OS: "linux", Architecture: runtime.GOARCH}
	if _, err := image.Layout(ctx, binary, tmp, platform); err != nil {
		var be *image.BinaryError
		if errors.As(err, &be) {
			return &InvalidError{Spec: binary, Err: err}
		}
		return fail(err)
	}
	// A layout that is in the way is broken, or another process was faster with
	// the same content: either way ours may take its place.
	if err := os.RemoveAll(dir); err != nil { //nolint:gosec // the one who builds names the program and the cache
		return fail(err)
	}
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, os.ErrExist) { //nolint:gosec // the one who builds names the program and the cache
		return fail(err)
	}
	return nil
}
