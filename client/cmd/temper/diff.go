package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/examine"
	"github.com/temper-images/temper/client/imagediff"
	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/client/telemetry"
)

// sections are the flags that show a part of a comparison in full.
var sections = []struct {
	section imagediff.Section
	help    string
}{
	{imagediff.Files, "Show every file that is different, and how"},
	{imagediff.Packages, "Show all packages that are different"},
	{imagediff.Executables, "Show all programs and libraries that are different"},
	{imagediff.Config, "Show all that is different in the configuration"},
	{imagediff.Reasons, "Show all groups of files that hardening removed, with why"},
	{imagediff.Totals, "Show the table of sizes and counts"},
}

// diffCommand is what temper diff was asked.
type diffCommand struct {
	examineFlags
	show     map[imagediff.Section]*bool
	exitCode bool
	quiet    bool
}

func newDiff(records *telemetry.Options) *cobra.Command {
	c := &diffCommand{show: map[imagediff.Section]*bool{}}
	cmd := &cobra.Command{
		Use:   "diff [flags] A B",
		Short: "Compare two images: files, packages, programs, configuration",
		Long: `Compare two images: files by content, mode, owner and link, packages by version,
programs and libraries, the configuration, sizes. Where an image has a hardening
report, the reasons in it are told for what it lacks.

A and B are directories of OCI layouts, OCI or Docker archives, or references of
registries. Of images for several platforms, those for the same platform are
compared. Times of files, and how they lie in layers, are no difference.

The summary shows each part in short. Flags such as --files show one in full, and
--json all of them. Values whose names are those of secrets are not shown.

Exit codes: 0, also when there are differences; 1 with --exit-code when there are.`,
		Example: `  temper diff debian.oci app.oci
  temper diff registry.example.com/team/app:1 registry.example.com/team/app:2 --packages
  temper diff a.oci b.oci --json --platform linux/amd64
  temper diff a.oci b.oci --quiet && echo the same`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withTelemetry(cmd, *records, func(ctx context.Context, t *telemetry.Telemetry) error {
				return c.run(ctx, cmd, t, args[0], args[1])
			})
		},
	}
	flags := cmd.Flags()
	for _, s := range sections {
		c.show[s.section] = flags.Bool(string(s.section), false, s.help)
	}
	flags.BoolVar(&c.exitCode, "exit-code", false, "End with exit code 1 when there are differences")
	flags.BoolVarP(&c.quiet, "quiet", "q", false, "Print nothing; implies --exit-code")
	flags.StringArrayVar(&c.platforms, "platform", nil, "Platforms of both images (default: those that both have)")
	c.examineFlags.add(flags)
	return cmd
}

func (c *diffCommand) run(ctx context.Context, cmd *cobra.Command, t *telemetry.Telemetry, a, b string) (err error) {
	var shown []imagediff.Section
	for _, s := range sections {
		if *c.show[s.section] {
			shown = append(shown, s.section)
		}
	}
	if c.json && len(shown) > 0 {
		return &build.InputError{Err: fmt.Errorf("--json has everything: it goes without --%s", shown[0])}
	}
	if c.quiet {
		c.exitCode, c.progress.progress = true, "none"
	}
	left, err := c.open(ctx, a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, left.Close()) }()
	right, err := c.open(ctx, b)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, right.Close()) }()
	both, err := pairs(left, right)
	if err != nil {
		return err
	}
	if err := c.oneForJSON(len(both)); err != nil {
		return err
	}
	diffs := make([]*imagediff.Diff, len(both))
	err = c.during(ctx, cmd, t, "comparing "+a+" and "+b, func(steps *stage.Runner) error {
		for i, p := range both {
			if diffs[i], err = c.compare(ctx, steps, [2]string{a, b}, p); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.tell(cmd.OutOrStdout(), diffs, shown)
}

// pairs finds which images are compared: those for the same platform, or both when
// each side has one.
func pairs(a, b *subject.Set) ([][2]*subject.Image, error) {
	if len(a.Images) == 1 && len(b.Images) == 1 {
		return [][2]*subject.Image{{a.Images[0], b.Images[0]}}, nil
	}
	var out [][2]*subject.Image
	for _, x := range a.Images {
		i := slices.IndexFunc(b.Images, func(y *subject.Image) bool { return y.Platform == x.Platform })
		if i >= 0 {
			out = append(out, [2]*subject.Image{x, b.Images[i]})
		}
	}
	if len(out) == 0 {
		return nil, &build.InputError{Err: fmt.Errorf("no platform is in both: %s has %s, %s has %s", a.Spec, platformsOf(a), b.Spec, platformsOf(b))}
	}
	return out, nil
}

func platformsOf(s *subject.Set) string {
	var names []string
	for _, img := range s.Images {
		names = append(names, img.Platform)
	}
	return strings.Join(names, ", ")
}

// compare reads and compares two images.
func (c *diffCommand) compare(ctx context.Context, steps *stage.Runner, names [2]string, images [2]*subject.Image) (_ *imagediff.Diff, err error) {
	var read [2]*examine.Image
	defer func() {
		for _, img := range read {
			if img != nil {
				err = errors.Join(err, img.Close())
			}
		}
	}()
	for i, img := range images {
		report, err := c.report(ctx, names[i], img)
		if err != nil {
			return nil, err
		}
		if read[i], err = c.read(ctx, steps, names[i], img, examine.Options{Report: report, AllPackages: true}); err != nil {
			return nil, err
		}
	}
	return imagediff.Compare(ctx, names[0], read[0], names[1], read[1])
}

// tell prints the comparisons. The error says that there are differences, where the
// exit code is to tell.
func (c *diffCommand) tell(w io.Writer, diffs []*imagediff.Diff, shown []imagediff.Section) error {
	var differ error
	for i, d := range diffs {
		if c.exitCode && !d.Same {
			differ = codeError(exitFailed)
		}
		var err error
		switch {
		case c.quiet:
		case c.json:
			err = d.WriteJSON(w)
		default:
			if i > 0 {
				fmt.Fprintln(w)
			}
			if len(diffs) > 1 && len(shown) > 0 {
				fmt.Fprintf(w, "%s\n\n", d.A.Platform)
			}
			err = d.WriteText(w, shown...)
		}
		if err != nil {
			return err
		}
	}
	return differ
}
