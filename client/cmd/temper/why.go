package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/examine"
	"github.com/temper-images/temper/client/explain"
	"github.com/temper-images/temper/client/finding"
	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/client/telemetry"
	"github.com/temper-images/temper/hardening/spec"
)

// whyCommand is what temper why was asked.
type whyCommand struct {
	examineFlags
	options explain.Options
}

func newWhy(records *telemetry.Options) *cobra.Command {
	c := &whyCommand{}
	cmd := &cobra.Command{
		Use:   "why [flags] IMAGE PATH...",
		Short: "Say why a hardened image has a path, or why not",
		Long: `Say why a path is in a hardened image: the shortest chain that leads to it from what
the image runs. Or why it is not there: what removed it, and what to write into
temper.yaml to keep it.

IMAGE is the directory of an OCI layout, an OCI or Docker archive, or a registry's
reference. The hardening report is the one that the build attached to it, or that a
release published beside it; temper verify says who vouches for it.

PATH is absolute. Symbolic links are followed inside the image. A name without a
slash is a command in the image's PATH, or a file of that name anywhere. Patterns
with *, ?, [a-z], {a,b} and ** for any number of directories stand for all paths that
they match, those that were removed included.

--tree prints what a path pulls in, as far as the report has reasons: they are
recorded at level minimal.

Exit codes: 0 when every path was found, in the image or among what was removed; 1
when one never existed, or the image has no hardening report.`,
		Example: `  temper why app.oci /usr/lib/x86_64-linux-gnu/libcrypto.so.3 /usr/bin/gpgv
  temper why app.oci sh 'libssl.so*'
  temper why registry.example.com/team/app:1 --platform linux/arm64 --tree /usr/sbin/nginx`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withTelemetry(cmd, *records, func(ctx context.Context, t *telemetry.Telemetry) error {
				return c.run(ctx, cmd, t, args[0], args[1:])
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&c.options.Tree, "tree", false, "Print what each path pulls in")
	flags.IntVar(&c.options.Depth, "depth", 0, "How many steps of the tree are shown, at most 64 (default: all of them)")
	flags.StringArrayVar(&c.platforms, "platform", nil, "Platforms of IMAGE (default: all)")
	c.examineFlags.add(flags)
	return cmd
}

func (c *whyCommand) run(ctx context.Context, cmd *cobra.Command, t *telemetry.Telemetry, name string, paths []string) (err error) {
	switch {
	case c.options.Depth < 0:
		return &build.InputError{Err: errors.New("--depth is a number of steps, 1 or more")}
	case c.options.Depth > 0 && !c.options.Tree:
		return &build.InputError{Err: errors.New("--depth is the depth of a tree: it goes with --tree")}
	}
	set, err := c.open(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	if err := c.oneForJSON(len(set.Images)); err != nil {
		return err
	}
	documents := make([]*explain.Document, len(set.Images))
	err = c.during(ctx, cmd, t, "reading "+name, func(steps *stage.Runner) error {
		for i, img := range set.Images {
			// Without a report, nothing else need be read.
			report, err := c.report(ctx, name, img)
			if err != nil {
				return err
			}
			if documents[i], err = c.explain(ctx, steps, name, img, report, paths); err != nil {
				return err
			}
		}
		return nil
	})
	var pattern *explain.PatternError
	if errors.As(err, &pattern) {
		return &build.InputError{Err: err}
	}
	if err != nil {
		return err
	}
	return c.tell(cmd.OutOrStdout(), documents)
}

// explain answers for one image.
func (c *whyCommand) explain(ctx context.Context, steps *stage.Runner, name string, img *subject.Image, report *spec.Report, paths []string) (doc *explain.Document, err error) {
	if report == nil {
		return nil, &explain.NoReportError{Image: name, Platform: img.Platform}
	}
	read, err := c.read(ctx, steps, name, img, examine.Options{Report: report})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, read.Close()) }()
	e, err := explain.New(read)
	if err != nil {
		return nil, err
	}
	answers, err := e.Explain(ctx, paths, c.options)
	if err != nil {
		return nil, err
	}
	return e.Document(answers), nil
}

// tell prints the answers. The error says that a path was not found.
func (c *whyCommand) tell(w io.Writer, documents []*explain.Document) error {
	var absent error
	for i, d := range documents {
		var err error
		if c.json {
			err = d.WriteJSON(w)
		} else {
			if len(documents) > 1 {
				if i > 0 {
					fmt.Fprintln(w)
				}
				fmt.Fprintf(w, "%s, %s\n\n", finding.Plain(d.Image), d.Platform)
			}
			err = d.WriteText(w)
		}
		if err != nil {
			return err
		}
		for _, a := range d.Answers {
			if a.State == explain.Absent {
				absent = codeError(exitFailed)
			}
		}
	}
	return absent
}
