package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/spf13/pflag"

	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/display"
)

// progressFlags choose how progress is shown; the commands with steps have them.
type progressFlags struct {
	progress string
	quiet    bool
}

func (f *progressFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.progress, "progress", "auto", "Progress: auto, plain, tty, rawjson, quiet, none (environment: BUILDKIT_PROGRESS)")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "Print the image's ID only")
}

// displayMode reads --progress and --quiet as docker buildx build does: "quiet"
// prints the image's ID at the end, "none" nothing at all.
func (f *progressFlags) displayMode() (progressui.DisplayMode, error) {
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

func openDisplay(ctx context.Context, w io.Writer, mode progressui.DisplayMode, doing string) (*display.Display, error) {
	d, err := display.Open(ctx, display.Options{Out: w, Mode: mode, Description: doing})
	if err != nil {
		return nil, &build.InputError{Err: fmt.Errorf("--progress %s: %w", mode, err)}
	}
	return d, nil
}
