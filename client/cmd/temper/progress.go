package main

import (
	"context"
	"fmt"
	"io"
	"os"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/temper-images/temper/client/build"
)

// displayMode reads --progress and --quiet as docker buildx build does: "quiet"
// prints the image's ID at the end, "none" nothing at all.
func (f *buildFlags) displayMode() (progressui.DisplayMode, error) {
	mode := f.progress
	if v := os.Getenv("BUILDKIT_PROGRESS"); v != "" && mode == "auto" {
		mode = v
	}
	switch mode {
	case "quiet":
		f.quiet = true
	case "none":
		mode = "quiet"
	case "auto", "plain", "tty", "rawjson":
	default:
		return "", &build.InputError{Err: fmt.Errorf("--progress %s: it is one of auto, plain, tty, rawjson, quiet, none", mode)}
	}
	if f.quiet {
		if f.progress != "auto" && mode != "quiet" {
			return "", &build.InputError{Err: fmt.Errorf("--progress %s and --quiet exclude each other", mode)}
		}
		return progressui.QuietMode, nil
	}
	return progressui.DisplayMode(mode), nil
}

// display shows the progress of one build.
type display struct {
	status chan *bkclient.SolveStatus
	done   chan struct{}
}

func startDisplay(ctx context.Context, w io.Writer, mode progressui.DisplayMode, where string) (*display, error) {
	ui, err := progressui.NewDisplay(w, mode, progressui.WithDesc("building on "+where, where))
	if err != nil {
		return nil, &build.InputError{Err: fmt.Errorf("--progress %s: %w", mode, err)}
	}
	d := &display{status: make(chan *bkclient.SolveStatus), done: make(chan struct{})}
	go func() {
		defer close(d.done)
		// The display goes on after an interrupt, to show how the build ends.
		warnings, err := ui.UpdateFrom(context.WithoutCancel(ctx), d.status)
		if err != nil {
			fmt.Fprintf(w, "progress: %v\n", err)
		}
		if mode != progressui.QuietMode && mode != progressui.RawJSONMode {
			printWarnings(w, warnings)
		}
	}()
	return d, nil
}

// wait returns when everything has been shown.
func (d *display) wait() { <-d.done }

func printWarnings(w io.Writer, warnings []bkclient.VertexWarning) {
	if len(warnings) == 0 {
		return
	}
	noun := "warnings"
	if len(warnings) == 1 {
		noun = "warning"
	}
	fmt.Fprintf(w, "\n%d %s found (use --check for details):\n", len(warnings), noun)
	for _, warn := range warnings {
		where := ""
		if warn.SourceInfo != nil && len(warn.Range) > 0 && warn.Range[0].Start != nil {
			where = fmt.Sprintf(" (%s:%d)", warn.SourceInfo.Filename, warn.Range[0].Start.Line)
		}
		fmt.Fprintf(w, " - %s%s\n", warn.Short, where)
	}
}
