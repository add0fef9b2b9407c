package display

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/console"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/progress/progressui"
	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/stage"
)

// show runs a build and the client's own steps in one display.
func show(t *testing.T, d *Display) {
	t.Helper()
	// A build as build.Run tells of it: in a channel that it closes.
	build := d.Build()
	now := time.Now()
	dgst := digest.FromString("step")
	build <- &bkclient.SolveStatus{Vertexes: []*bkclient.Vertex{{Digest: dgst, Name: "[1/2] RUN make", Started: &now}}}
	build <- &bkclient.SolveStatus{
		Vertexes: []*bkclient.Vertex{{Digest: dgst, Name: "[1/2] RUN make", Started: &now, Completed: &now}},
		Warnings: []*bkclient.VertexWarning{{
			Vertex: dgst, Short: []byte("JSONArgsRecommended"), SourceInfo: &pb.SourceInfo{Filename: "Dockerfile"}, Range: []*pb.Range{{Start: &pb.Position{Line: 3}}},
		}},
	}
	close(build)
	d.builds.Wait()

	r := stage.New(stage.Options{Status: d.Send})
	require.NoError(t, r.Run(t.Context(), "[evidence 1/2] scan for vulnerabilities", stage.Scan, func(ctx context.Context, s *stage.Step) error {
		s.Progress("downloading the database", 10, 100)
		s.Progress("downloading the database", 100, 100)
		s.Progress("reading", 5, 10)
		s.Log("3 packages match")
		s.Warn("the database is 4 days old")
		return r.Run(ctx, "[evidence 1/2] within", stage.Gate, func(context.Context, *stage.Step) error { return nil })
	}))
	require.Error(t, r.Run(t.Context(), "[evidence 2/2] sign", stage.Sign, func(_ context.Context, s *stage.Step) error {
		s.Log("asking the key")
		s.Progress("uploading", 5, 10)
		return errors.New("no such key")
	}))
	interrupted, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("interrupted"))
	require.Error(t, r.Run(interrupted, "store", stage.Store, func(ctx context.Context, _ *stage.Step) error { return ctx.Err() }))
	d.Close()
	d.Close()
	d.Send(&bkclient.SolveStatus{})
}

var (
	times   = regexp.MustCompile(` ?\d+\.\d+s?\b`)
	escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`)
)

func TestPlain(t *testing.T) {
	var out bytes.Buffer
	d, err := Open(t.Context(), Options{Out: &out, Mode: progressui.AutoMode, Description: "building on a builder"})
	require.NoError(t, err)
	show(t, d)
	for _, want := range []string{
		"#0 building on a builder",
		"[1/2] RUN make\n",
		"[evidence 1/2] scan for vulnerabilities\n", "downloading the database 100B / 100B done", "3 packages match", "WARN: the database is 4 days old",
		"[evidence 1/2] within",
		"ERROR: no such key",
		"CANCELED",
		" > [evidence 2/2] sign:\n asking the key\n------",
		"\n2 warnings found (use --check for details):\n - JSONArgsRecommended (Dockerfile:3)\n - the database is 4 days old\n",
	} {
		require.Contains(t, times.ReplaceAllString(out.String(), ""), want, out.String())
	}
	require.Equal(t, 3, strings.Count(out.String(), "DONE"))
}

func TestRawJSON(t *testing.T) {
	var out bytes.Buffer
	d, err := Open(t.Context(), Options{Out: &out, Mode: progressui.RawJSONMode})
	require.NoError(t, err)
	show(t, d)
	ends := map[string]string{}
	for line := range strings.Lines(out.String()) {
		var s bkclient.SolveStatus
		require.NoError(t, json.Unmarshal([]byte(line), &s), line)
		for _, v := range s.Vertexes {
			if v.Completed != nil {
				ends[v.Name] = v.Error
			}
		}
	}
	require.Equal(t, map[string]string{
		"[1/2] RUN make": "", "[evidence 1/2] scan for vulnerabilities": "", "[evidence 1/2] within": "",
		"[evidence 2/2] sign": "no such key", "store": "interrupted: context canceled",
	}, ends)
}

func TestQuiet(t *testing.T) {
	var out bytes.Buffer
	d, err := Open(t.Context(), Options{Out: &out, Mode: progressui.QuietMode})
	require.NoError(t, err)
	show(t, d)
	require.Empty(t, out.String())
}

func TestNoTerminal(t *testing.T) {
	_, err := Open(t.Context(), Options{Out: &bytes.Buffer{}, Mode: progressui.TtyMode})
	require.ErrorContains(t, err, "progress display tty")
}

// In a real terminal, the steps of the client stand below those of the build, in
// one list.
func TestTerminal(t *testing.T) {
	pty, path, err := console.NewPty()
	require.NoError(t, err)
	require.NoError(t, pty.Resize(console.WinSize{Width: 100, Height: 30}))
	tty, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	var screen bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		// A terminal that nobody holds open ends with an error.
		_, _ = screen.ReadFrom(pty)
	}()
	d, err := Open(t.Context(), Options{Out: tty, Mode: progressui.AutoMode, Description: "on a builder"})
	require.NoError(t, err)
	show(t, d)
	require.NoError(t, tty.Close())
	<-read
	require.NoError(t, pty.Close())

	last := screen.String()
	last = escapes.ReplaceAllString(last[strings.LastIndex(last, "[+] Building"):], "")
	var lines []string
	for line := range strings.Lines(strings.ReplaceAll(last, "\r", "")) {
		lines = append(lines, strings.TrimSpace(times.ReplaceAllString(line, "")))
	}
	require.Regexp(t, `^\[\+\] Building \(5/5\) FINISHED +on a builder$`, lines[0], screen.String())
	require.Equal(t, []string{
		"=> [1/2] RUN make",
		"=> WARN: JSONArgsRecommended",
		"=> [evidence 1/2] scan for vulnerabilities",
		"=> => downloading the database 100B / 100B",
		"=> => reading 5B / 10B",
		"=> WARN: the database is 4 days old",
		"=> [evidence 1/2] within",
		"=> ERROR [evidence 2/2] sign",
		"=> => uploading 5B / 10B",
		"=> CANCELED store",
		"------",
		"> [evidence 2/2] sign:",
		"asking the key",
		"------",
		"",
		"2 warnings found (use --check for details):",
		"- JSONArgsRecommended (Dockerfile:3)",
		"- the database is 4 days old",
	}, lines[1:])
}

// A command may fail between asking for a channel and starting the build.
func TestBuildThatDoesNotTakePlace(t *testing.T) {
	d, err := Open(t.Context(), Options{Out: &bytes.Buffer{}, Mode: progressui.PlainMode})
	require.NoError(t, err)
	build := d.Build()
	d.Close()
	// One that comes late is not held up.
	build <- &bkclient.SolveStatus{}
	build <- &bkclient.SolveStatus{}
	close(build)
}

func TestManyAtOnce(t *testing.T) {
	var out bytes.Buffer
	d, err := Open(t.Context(), Options{Out: &out, Mode: progressui.RawJSONMode})
	require.NoError(t, err)
	r := stage.New(stage.Options{Status: d.Send})
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			build := d.Build()
			defer close(build)
			for range 20 {
				build <- &bkclient.SolveStatus{}
			}
		})
		wg.Go(func() {
			_ = r.Run(t.Context(), "step", stage.Sign, func(_ context.Context, s *stage.Step) error {
				s.Log("x")
				return nil
			})
		})
	}
	wg.Wait()
	d.Close()
	require.Equal(t, 10*20+10*3, strings.Count(out.String(), "\n"))
}
