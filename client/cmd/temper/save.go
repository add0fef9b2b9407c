package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/client/telemetry"
	"github.com/temper-images/temper/client/transfer"
)

func newSave(records *telemetry.Options) *cobra.Command {
	var f transferFlags
	var output string
	var directory bool
	cmd := &cobra.Command{
		Use:   "save [flags] IMAGE -o FILE",
		Short: "Save an image with everything attached into a file",
		Long: `Save an image of a registry, with everything that temper copy copies, as an OCI image
layout in an uncompressed tar. temper load pushes it, temper verify verifies it
without a network, and skopeo, oras and crane read it. The same image gives the same
bytes. What FILE was before is replaced, when everything is written and read back.

With --directory FILE is a directory, new or empty, or one where an earlier attempt
was broken off: what is there already is not fetched again.

With --key, or an identity, the image itself (the index, where there is one) must be
signed so at the registry and in the file.

Exit codes are those of temper copy.`,
		Example: `  temper save registry.example.com/team/app:1.2 -o app.oci.tar --key release.pub
  temper save registry.example.com/team/app:1.2 -o app.oci --directory`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, tag, err := f.source(args[0])
			if err != nil {
				return err
			}
			if output == "" {
				return errInput("say where to: -o FILE")
			}
			return f.carry(cmd, *records, stage.Save, args[0], func(ctx context.Context, o transfer.Options, ro registry.Options) (*transfer.Result, error) {
				img, err := f.image(ctx, from, tag, ro)
				if err != nil {
					return nil, err
				}
				return transfer.Save(ctx, img, output, directory, o)
			})
		},
	}
	f.add(cmd.Flags(), false)
	cmd.Flags().StringVarP(&output, "output", "o", "", "The file")
	cmd.Flags().BoolVar(&directory, "directory", false, "Make the layout a directory")
	return cmd
}
