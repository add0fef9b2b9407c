package main

import (
	"context"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"

	"github.com/temper-images/temper/client/ocilayout"
	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/client/telemetry"
	"github.com/temper-images/temper/client/transfer"
)

func newLoad(records *telemetry.Options) *cobra.Command {
	var f transferFlags
	var image string
	cmd := &cobra.Command{
		Use:   "load [flags] FILE DESTINATION",
		Short: "Push a saved image with everything attached",
		Long: `Push what temper save wrote into a registry, in the order and with the checks of
temper copy. Every byte is checked before anything is pushed: an archive that is cut
off, damaged or not whole is refused. Archives and directories that skopeo, oras or
docker buildx wrote are OCI layouts too, and are loaded.

DESTINATION without a tag gets the one that the image was saved under. A file with
several images needs --image, with a name in it or a digest.

Exit codes are those of temper copy, and 2 when the file is no whole archive.`,
		Example: `  temper load app.oci.tar registry.internal/team/app --key release.pub
  temper load images.oci registry.internal/team/app:1.2 --image 1.2`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			to, tag, err := f.destination(args[1])
			if err != nil {
				return err
			}
			path := args[0]
			if dir, ref, is := ocilayout.ParseRef(path); is {
				if path = dir; image == "" {
					image = ref
				}
			}
			return f.carry(cmd, *records, stage.Load, args[0], func(ctx context.Context, o transfer.Options, ro registry.Options) (*transfer.Result, error) {
				dst, err := openDestination(ctx, to, ro)
				if err != nil {
					return nil, err
				}
				return transfer.Load(ctx, path, image, dst, func(saved string) string {
					if tag != "" {
						return tag
					}
					return savedTag(saved)
				}, o)
			})
		},
	}
	f.add(cmd.Flags(), true)
	cmd.Flags().StringVar(&image, "image", "", "Which image of FILE (default: the only one)")
	return cmd
}

// savedTag is the tag in the name that an image was saved under: of a full name, or of
// one that is nothing but the tag, as docker buildx writes it. Without a tag it is
// empty.
func savedTag(saved string) string {
	if !strings.ContainsAny(saved, "/:@") {
		if _, err := name.NewTag("a:" + saved); err == nil {
			return saved
		}
		return ""
	}
	ref, err := name.ParseReference(saved)
	if err != nil {
		return ""
	}
	return tagOf(saved, ref)
}
