package container

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/pkg/archive"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Unpack applies the image's layers to the empty directory root. Each layer's
// content is checked against the configuration's diff IDs on the way.
func Unpack(ctx context.Context, img v1.Image, root string) error {
	file, err := img.ConfigFile()
	if err != nil {
		return fmt.Errorf("unpack image: %w", err)
	}
	layers, err := img.Layers()
	if err != nil {
		return fmt.Errorf("unpack image: %w", err)
	}
	if len(layers) != len(file.RootFS.DiffIDs) {
		return fmt.Errorf("unpack image: %d layers, %d diff IDs", len(layers), len(file.RootFS.DiffIDs))
	}
	for i, layer := range layers {
		if err := apply(ctx, layer, file.RootFS.DiffIDs[i], root); err != nil {
			return fmt.Errorf("unpack layer %d: %w", i, err)
		}
	}
	return nil
}

func apply(ctx context.Context, layer v1.Layer, want v1.Hash, root string) error {
	rc, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer rc.Close()
	sum := newDigester(rc)
	if _, err := archive.Apply(ctx, root, sum); err != nil {
		return err
	}
	got, err := sum.finish()
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("content has diff ID %s, the configuration says %s", got, want)
	}
	return nil
}
