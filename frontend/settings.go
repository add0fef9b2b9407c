package frontend

import (
	"maps"
	"slices"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"

	"github.com/temper-images/temper/frontend/config"
	"github.com/temper-images/temper/hardening/spec"
)

// settings says to the helper what temper.yaml, the image configuration and the
// Dockerfile ask for.
func settings(c config.Harden, img *dockerspec.DockerOCIImage, installed []string) spec.Settings {
	s := spec.Settings{
		Level:     c.Level,
		Shell:     c.Shell,
		Docs:      c.Docs == config.DocsKeep,
		Sources:   c.Bytecode == config.BytecodeRemove,
		Presets:   slices.Clone(c.Preset),
		Keep:      slices.Clone(c.Keep),
		Remove:    slices.Clone(c.Remove),
		Locales:   slices.Clone(c.Locales),
		SetUID:    slices.Clone(c.SetUID),
		Writable:  slices.Clone(c.Writable),
		User:      c.User,
		Installed: installed,
		Image: spec.ImageConfig{
			User:       img.Config.User,
			Entrypoint: img.Config.Entrypoint,
			Cmd:        img.Config.Cmd,
			Env:        img.Config.Env,
			WorkingDir: img.Config.WorkingDir,
			Volumes:    slices.Sorted(maps.Keys(img.Config.Volumes)),
		},
	}
	if h := img.Config.Healthcheck; h != nil {
		s.Image.Healthcheck = h.Test
	}
	return s
}
