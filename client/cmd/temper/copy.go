package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/client/telemetry"
	"github.com/temper-images/temper/client/transfer"
)

func newCopy(records *telemetry.Options) *cobra.Command {
	var f transferFlags
	cmd := &cobra.Command{
		Use:   "copy [flags] SOURCE DESTINATION",
		Short: "Copy an image with everything attached to another registry",
		Long: `Copy an image, an index with all its platforms, with everything attached to it:
signatures, attestations, SBOMs, whatever refers to it or is attached to those in
turn, and Cosign's tags. Digests stay. DESTINATION without a tag gets the tag of
SOURCE; when that is a digest, no tag is written.

Everything is read back before the tag is written, last. A tag that names another
image stays, unless --move-tag is given. What is there is not pushed again: a copy
that was broken off is run again.

With --key, or an identity, the image itself (the index, where there is one) must be
signed so at the source, before anything is written, and again at the destination.

Exit codes: 0 when the image is at its destination, 1 when its tag names another
image or the copy is not whole, 2 when there is no such image, 6 when it is not
signed, 7 when it is signed by somebody else or was changed, 9 when a registry
cannot be reached, throttles or denies access.`,
		Example: `  temper copy registry.example.com/team/app:1.2 mirror.example.com/team/app
  temper copy --key release.pub registry.example.com/team/app@sha256:… mirror.example.com/team/app:1.2
  temper copy --platform linux/arm64 registry.example.com/team/app:1.2 mirror.example.com/team/app:1.2-arm64`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, named, err := f.source(args[0])
			if err != nil {
				return err
			}
			to, tag, err := f.destination(args[1])
			if err != nil {
				return err
			}
			if tag == "" {
				tag = named
			}
			return f.carry(cmd, *records, stage.Copy, args[0], func(ctx context.Context, o transfer.Options, ro registry.Options) (*transfer.Result, error) {
				img, err := f.image(ctx, from, named, ro)
				if err != nil {
					return nil, err
				}
				dst, err := openDestination(ctx, to, ro)
				if err != nil {
					return nil, err
				}
				return transfer.Copy(ctx, img, dst, tag, o)
			})
		},
	}
	f.add(cmd.Flags(), true)
	return cmd
}
