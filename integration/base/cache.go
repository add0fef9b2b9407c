package base

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// recipes are the files that decide how a base is made: when one changes, so do
// all keys.
//
//go:embed base.go debian.go busybox.go golang.go
var recipes embed.FS

// lockPoll is how often a waiting process asks for a cache entry's lock.
const lockPoll = 200 * time.Millisecond

// cacheRoot is where bases are kept between runs.
func cacheRoot() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory for base images: %w", err)
	}
	return filepath.Join(dir, "temper-test"), nil
}

// cached returns the directory NAME-KEY of the cache, where KEY is a digest of
// inputs and recipes, and calls fill to make it when it is not there. An entry appears under
// its name only when it is complete; processes that want the same entry wait for
// the first of them.
func cached(ctx context.Context, name string, inputs []string, fill func(ctx context.Context, dir string) error) (string, error) {
	root, err := cacheRoot()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", fmt.Errorf("make the cache directory for base images: %w", err)
	}
	sum := sha256.New()
	files, err := recipes.ReadDir(".")
	if err != nil {
		return "", fmt.Errorf("read the recipes of base images: %w", err)
	}
	for _, f := range files {
		dt, err := recipes.ReadFile(f.Name())
		if err != nil {
			return "", fmt.Errorf("read the recipes of base images: %w", err)
		}
		inputs = append(inputs, string(dt))
	}
	for _, in := range inputs {
		fmt.Fprintf(sum, "%d\n%s", len(in), in)
	}
	entry := filepath.Join(root, name+"-"+hex.EncodeToString(sum.Sum(nil))[:16])

	lock := flock.New(entry + ".lock")
	if _, err := lock.TryLockContext(ctx, lockPoll); err != nil {
		return "", fmt.Errorf("wait for base image %s: %w", name, err)
	}
	defer lock.Close()

	if _, err := os.Stat(entry); err == nil {
		return entry, nil
	}
	// Under the lock nobody else fills this entry, so what lies here is a
	// leftover of a process that was killed.
	partial := entry + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return "", fmt.Errorf("remove unfinished base image %s: %w", name, err)
	}
	if err := os.Mkdir(partial, 0o755); err != nil {
		return "", fmt.Errorf("make base image %s: %w", name, err)
	}
	if err := fill(ctx, partial); err != nil {
		os.RemoveAll(partial)
		return "", fmt.Errorf("make base image %s: %w", name, err)
	}
	if err := os.Rename(partial, entry); err != nil {
		return "", fmt.Errorf("keep base image %s: %w", name, err)
	}
	return entry, nil
}
