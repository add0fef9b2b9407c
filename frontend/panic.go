package frontend

import (
	"fmt"
	"runtime/debug"
)

// PanicError is a panic that was turned into an error, so that a fault in the
// frontend ends one build with a message.
type PanicError struct {
	// Value is what was panicked with, Stack where.
	Value any
	Stack []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("internal error in the Temper frontend, please report it with the Dockerfile that caused it: %v\n%s", e.Value, e.Stack)
}

// recovered, deferred, turns a panic into an error.
func recovered(err *error) {
	if v := recover(); v != nil {
		*err = &PanicError{Value: v, Stack: debug.Stack()}
	}
}
