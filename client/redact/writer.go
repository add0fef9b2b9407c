package redact

import (
	"io"
	"os"
	"sync"
)

// Writer writes text on without the known values, however they are spread over
// calls of Write. It holds back the end of what was written while that may be the
// beginning of a value, which is at most a few hundred bytes; Flush and Close
// let go of it. It is safe for concurrent use.
type Writer struct {
	r *Redactor
	w io.Writer

	mu    sync.Mutex
	held  []byte
	state state
	out   []byte
	err   error
}

// Writer returns a writer to w.
func (r *Redactor) Writer(w io.Writer) *Writer { return &Writer{r: r, w: w} }

// Write takes all of p, or fails as the writer beneath failed. After that it fails always.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.write(p, false); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush writes what is held back. What follows it is read afresh: a value that is
// half before and half after a Flush is not found.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.write(nil, true)
}

// Close writes what is held back. The writer beneath stays open.
func (w *Writer) Close() error { return w.Flush() }

func (w *Writer) write(p []byte, all bool) error {
	if w.err != nil {
		return w.err
	}
	w.held = append(w.held, p...)
	until := len(w.held)
	m := w.r.matcher()
	if m == nil {
		w.out = append(w.out[:0], w.held...)
	} else {
		if !all {
			until = m.begun(w.held)
		}
		w.out = w.state.replace(m, w.out[:0], w.held, until)
	}
	rest := copy(w.held, w.held[until:])
	w.held = w.held[:rest]
	if all {
		w.state = state{}
	}
	if len(w.out) == 0 {
		return nil
	}
	n, err := w.w.Write(w.out)
	if err == nil && n < len(w.out) {
		err = io.ErrShortWrite
	}
	w.err = err
	return err
}

// File is a Writer to a file that may be a terminal: what asks for the file's
// descriptor, to learn a terminal's size, gets it.
type File struct {
	*Writer
	f *os.File
}

// File returns a writer to f.
func (r *Redactor) File(f *os.File) *File { return &File{r.Writer(f), f} }

// Fd is the descriptor of the file beneath. What is written to it directly is not filtered.
func (f *File) Fd() uintptr { return f.f.Fd() }

// Name is the name of the file beneath.
func (f *File) Name() string { return f.f.Name() }

// Read reads from the file beneath, as the interfaces of terminals want it.
func (f *File) Read(p []byte) (int, error) { return f.f.Read(p) }
