// Package display shows the steps of builds and the client's own steps in one
// progress display, from the first to the last.
package display

import (
	"context"
	"fmt"
	"io"
	"sync"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"
)

// Options say how progress is shown.
type Options struct {
	// Out is where to; for ModeTTY it is a terminal.
	Out io.Writer
	// Mode is one of progressui's modes. Empty means a terminal's display on a
	// terminal and plain lines elsewhere.
	Mode progressui.DisplayMode
	// Description says in a few words where the work is done.
	Description string
}

// Display is a display that is open until Close. Its methods can be called by
// several goroutines at once.
type Display struct {
	out    io.Writer
	mode   progressui.DisplayMode
	builds sync.WaitGroup
	// closing ends what waits for builds, done is closed when all was shown.
	closing, done chan struct{}

	close  sync.Once
	mu     sync.Mutex
	status chan *bkclient.SolveStatus
	closed bool
}

// Open starts a display. ctx gives values only: a display goes on after an
// interrupt, to show how the work ends. The display is to be closed.
func Open(ctx context.Context, o Options) (*Display, error) {
	var opts []progressui.DisplayOpt
	if o.Description != "" {
		opts = append(opts, progressui.WithDesc(o.Description, o.Description))
	}
	ui, err := progressui.NewDisplay(o.Out, o.Mode, opts...)
	if err != nil {
		return nil, fmt.Errorf("progress display %s: %w", o.Mode, err)
	}
	d := &Display{out: o.Out, mode: o.Mode, closing: make(chan struct{}), done: make(chan struct{}), status: make(chan *bkclient.SolveStatus)}
	go func() {
		defer close(d.done)
		warnings, err := ui.UpdateFrom(context.WithoutCancel(ctx), d.status)
		if err != nil {
			fmt.Fprintf(d.out, "progress: %v\n", err)
		}
		if d.mode != progressui.QuietMode && d.mode != progressui.RawJSONMode {
			printWarnings(d.out, warnings)
		}
	}()
	return d, nil
}

// Send shows a status. After Close it does nothing.
func (d *Display) Send(s *bkclient.SolveStatus) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.status <- s
	}
}

// Build returns a channel for the progress of one build. The build closes it at
// its end, as build.Run does with Request.Status; a build that does not take place
// need not.
func (d *Display) Build() chan *bkclient.SolveStatus {
	ch := make(chan *bkclient.SolveStatus)
	d.builds.Go(func() {
		for {
			select {
			case s, ok := <-ch:
				if !ok {
					return
				}
				d.Send(s)
			case <-d.closing:
				// A build that goes on is not to be held up.
				go func() {
					for range ch {
					}
				}()
				return
			}
		}
	})
	return ch
}

// Close returns when everything has been shown that was sent before. A second call
// does nothing.
func (d *Display) Close() {
	d.close.Do(func() {
		close(d.closing)
		d.builds.Wait()
		d.mu.Lock()
		d.closed = true
		close(d.status)
		d.mu.Unlock()
	})
	<-d.done
}

func printWarnings(w io.Writer, warnings []bkclient.VertexWarning) {
	if len(warnings) == 0 {
		return
	}
	noun, hint := "warnings", ""
	if len(warnings) == 1 {
		noun = "warning"
	}
	for _, warn := range warnings {
		if warn.SourceInfo != nil {
			hint = " (use --check for details)"
		}
	}
	fmt.Fprintf(w, "\n%d %s found%s:\n", len(warnings), noun, hint)
	for _, warn := range warnings {
		where := ""
		if warn.SourceInfo != nil && len(warn.Range) > 0 && warn.Range[0].Start != nil {
			where = fmt.Sprintf(" (%s:%d)", warn.SourceInfo.Filename, warn.Range[0].Start.Line)
		}
		fmt.Fprintf(w, " - %s%s\n", warn.Short, where)
	}
}
