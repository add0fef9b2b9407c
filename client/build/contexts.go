package build

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
	"github.com/moby/buildkit/util/gitutil"
	"github.com/temper-images/temper/client/frontend"
	"github.com/temper-images/temper/client/ocilayout"
	"github.com/tonistiigi/fsutil"
)

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
