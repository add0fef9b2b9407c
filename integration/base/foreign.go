package base

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// recordExtracted stands in for dpkg where its maintainer scripts cannot be run.
//
//go:embed foreign.sh
var recordExtracted []byte

// DebianForeign returns a base of the machine's own release for another
// architecture, dpkg's name of which is arch: the packages named and what they
// depend on, extracted and recorded in dpkg's database. Nothing of it is run, so
// this needs no emulation, and what maintainer scripts would have made is absent.
func DebianForeign(ctx context.Context, arch string, packages ...string) (Layout, error) {
	a, err := machineApt(ctx)
	if err != nil {
		return Layout{}, err
	}
	inputs := append(a.inputs(), packages...)
	dir, err := cached(ctx, "debian-"+arch, append(inputs, string(recordExtracted)), func(ctx context.Context, dir string) error {
		conf, err := os.MkdirTemp("", "temper-apt-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(conf)
		sources, err := a.write(conf)
		if err != nil {
			return err
		}
		hook := filepath.Join(conf, "record")
		if err := os.WriteFile(hook, recordExtracted, 0o700); err != nil {
			return err
		}
		args := []string{
			"--quiet", "--architecture=" + arch, "--variant=extract", "--mode=root",
			"--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", "--extract-hook=" + hook + ` "$1"`,
		}
		for _, opt := range a.options {
			args = append(args, "--aptopt="+opt)
		}
		for _, p := range packages {
			args = append(args, "--include="+p)
		}
		layer := filepath.Join(dir, "rootfs.tar")
		defer os.Remove(layer)
		args = append(append(args, a.codename, layer), sources...)
		if _, err := run(ctx, conf, []string{"SOURCE_DATE_EPOCH=" + strconv.Itoa(created)}, "mmdebstrap", args...); err != nil {
			return err
		}
		img, err := image(v1.Config{Env: []string{debianPath}, Cmd: []string{"bash"}}, layer)
		if err != nil {
			return err
		}
		file, err := img.ConfigFile()
		if err != nil {
			return err
		}
		file = file.DeepCopy()
		file.Architecture = arch
		if img, err = mutate.ConfigFile(img, file); err != nil {
			return err
		}
		return write(dir, img)
	})
	if err != nil {
		return Layout{}, fmt.Errorf("make a base for %s: %w", arch, err)
	}
	return open(dir)
}
