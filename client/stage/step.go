package stage

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	bkclient "github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"
)

// Step is what a step can tell while it runs. Its methods can be called by several
// goroutines at once, and on nil; after the end of the step they do nothing.
type Step struct {
	r           *Runner
	ctx         context.Context
	name, event string
	vertex      digest.Digest
	began       time.Time

	mu    sync.Mutex
	ended bool
	facts []slog.Attr
	lines []*line
}

// line is a sub-status: one of the things that a step is doing.
type line struct {
	bkclient.VertexStatus
	// open is false once the end was shown; shown is when it was shown last.
	open  bool
	shown time.Time
}

// progressInterval bounds how often one line is sent. The display draws no more
// often than this.
const progressInterval = 100 * time.Millisecond

// Progress shows a line below the step: id is what the display calls it,
// "downloading the vulnerability database", current and total are in bytes. A
// total of 0 means that it is not known. The line is done when current reaches
// total, and at the latest with the step.
func (s *Step) Progress(id string, current, total int64) {
	if s == nil {
		return
	}
	s.mu.Lock()
	now := time.Now()
	l := s.line(id, now)
	l.Current, l.Total, l.Timestamp = current, total, now
	done := total > 0 && current >= total
	if s.ended || !l.open || !done && now.Sub(l.shown) < progressInterval {
		s.mu.Unlock()
		return
	}
	l.shown = now
	if done {
		l.open, l.Completed = false, &now
	}
	st := l.VertexStatus
	s.mu.Unlock()
	s.send(&bkclient.SolveStatus{Statuses: []*bkclient.VertexStatus{&st}})
}

// line finds the line or makes it. The caller holds mu.
func (s *Step) line(id string, now time.Time) *line {
	if i := slices.IndexFunc(s.lines, func(l *line) bool { return l.ID == id }); i >= 0 {
		return s.lines[i]
	}
	l := &line{VertexStatus: bkclient.VertexStatus{ID: id, Vertex: s.vertex, Started: &now}, open: true}
	s.lines = append(s.lines, l)
	return l
}

// closeProgress ends the lines that are open. The plain display does not show the
// end of a step that has an open line.
func (s *Step) closeProgress(at time.Time) []*bkclient.VertexStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*bkclient.VertexStatus
	for _, l := range s.lines {
		if l.open {
			l.open, l.Completed, l.Timestamp = false, &at, at
			st := l.VertexStatus
			out = append(out, &st)
		}
	}
	return out
}

// Write adds to the step's output in the display. It never fails.
func (s *Step) Write(p []byte) (int, error) {
	if s == nil || len(p) == 0 {
		return len(p), nil
	}
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	if !ended {
		s.send(&bkclient.SolveStatus{Logs: []*bkclient.VertexLog{{
			Vertex: s.vertex, Stream: 1, Data: slices.Clone(p), Timestamp: time.Now(),
		}}})
	}
	return len(p), nil
}

// Log adds a line to the step's output in the display.
func (s *Step) Log(text string) { _, _ = s.Write([]byte(text + "\n")) }

// Logf is Log with a format.
func (s *Step) Logf(format string, args ...any) { s.Log(fmt.Sprintf(format, args...)) }

// Warn says what the user should look at though the step goes on: a warning in
// the display, that stays when the step's output goes, and a record of its own.
func (s *Step) Warn(text string, attrs ...slog.Attr) {
	if s == nil {
		return
	}
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	if ended {
		return
	}
	s.send(&bkclient.SolveStatus{Warnings: []*bkclient.VertexWarning{{Vertex: s.vertex, Level: 1, Short: []byte(text)}}})
	s.record(slog.LevelWarn, "warning", append([]slog.Attr{slog.String("warning", text)}, attrs...)...)
}

// Set states facts for the record of the step's end: counts, sizes in bytes,
// digests. A fact that was stated before is replaced. Numbers become metrics, and
// all become attributes of the span.
func (s *Step) Set(attrs ...slog.Attr) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	for _, a := range attrs {
		if i := slices.IndexFunc(s.facts, func(f slog.Attr) bool { return f.Key == a.Key }); i >= 0 {
			s.facts[i] = a
		} else {
			s.facts = append(s.facts, a)
		}
	}
}
