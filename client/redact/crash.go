package redact

import (
	"fmt"
	"io"
	"runtime/debug"
)

// Crash ends a panic of the calling goroutine: deferred, it writes the panic's
// words and the stack to w without the known values, and calls then, which ends
// the process. Without a panic it does nothing. The runtime's own report, which
// cannot be filtered, is not printed.
//
// It sees panics of its own goroutine only, so each goroutine that handles
// secrets defers it.
func (r *Redactor) Crash(w io.Writer, then func()) {
	p := recover()
	if p == nil {
		return
	}
	words := panicWords(p)
	fmt.Fprintf(w, "panic: %s\n\n%s", r.String(words), r.Bytes(debug.Stack()))
	then()
}

// panicWords is the text of a panic's value, which may panic itself.
func panicWords(p any) (words string) {
	defer func() {
		if recover() != nil {
			words = fmt.Sprintf("a value of type %T", p)
		}
	}()
	if err, ok := p.(error); ok {
		return err.Error()
	}
	return fmt.Sprint(p)
}
