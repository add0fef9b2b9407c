package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/spf13/cobra"

	"github.com/temper-images/temper/client/release"
	"github.com/temper-images/temper/client/settings"
	"github.com/temper-images/temper/client/telemetry"
)

func newPublish(records *telemetry.Options) *cobra.Command {
	f := &publishFlags{}
	cmd := &cobra.Command{
		Use:   "publish LAYOUT",
		Short: "Publish an image that exists, signed and with its evidence",
		Long: `Do with the image in an OCI layout what temper release does at its end: sign it,
attest what the evidence store has about it, push both, read them back and verify
them, then push the image, and write its tags last.

LAYOUT is a directory, with :TAG or @DIGEST behind it when it holds several images.
An image that the store has nothing about is published with its signature alone.` + "\n\n" + exitCodesHelp,
		Example: `  temper build -o app.oci . && temper evidence create app.oci --key cosign.key
  temper publish app.oci -t registry.example.com/app:1 --key cosign.key`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.start(cmd, *records, args[0]) },
	}
	flags := cmd.Flags()
	f.progressFlags.add(flags)
	f.evidenceFlags.addSigning(flags)
	f.addPush(flags)
	flags.StringArrayVarP(&f.tags, "tag", "t", nil, "Name and tag to publish the image under; may be given several times")
	return cmd
}

// publishFlags are the flags of temper publish.
type publishFlags struct {
	progressFlags
	evidenceFlags
	pushFlags
	tags []string
}

func (f *publishFlags) start(cmd *cobra.Command, records telemetry.Options, layout string) error {
	s, err := settingsOf(f.config)
	if err != nil {
		return err
	}
	if err := errors.Join(f.apply(cmd, s), f.checkPush(f.tags)); err != nil {
		return err
	}
	if records, err = recordsOf(cmd, records, s); err != nil {
		return err
	}
	return withTelemetry(cmd, records, func(ctx context.Context, t *telemetry.Telemetry) error {
		return f.run(ctx, cmd, t, s, layout)
	})
}

func (f *publishFlags) run(ctx context.Context, cmd *cobra.Command, t *telemetry.Telemetry, s *settings.Settings, layout string) error {
	mode, err := f.displayMode()
	if err != nil {
		return err
	}
	if mode, err = besideRecords(mode, t.Format()); err != nil {
		return err
	}
	show, err := openDisplay(ctx, cmd.ErrOrStderr(), mode, "publishing")
	if err != nil {
		return err
	}
	defer show.Close()
	o, err := f.options(cmd, s, t, show)
	if err != nil {
		return err
	}
	o.Push = &f.push
	res, err := release.Publish(ctx, layout, f.tags, o)
	show.Close()
	if err != nil {
		return err
	}
	if res.Plan != nil {
		return f.printPlan(cmd.OutOrStdout(), res.Plan)
	}
	if mode == progressui.RawJSONMode || mode == progressui.QuietMode {
		return nil
	}
	if len(res.Bare) > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "\nthe evidence store has nothing about the image for %s: it is signed, and nothing is attested\n", strings.Join(res.Bare, ", "))
	}
	return summarisePublished(cmd.ErrOrStderr(), res.Published)
}
