package main

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/temper-images/temper/client/redact"
)

type redactorKey struct{}

// withRedactor gives the commands the filter that everything they print passes.
func withRedactor(ctx context.Context, r *redact.Redactor) context.Context {
	return context.WithValue(ctx, redactorKey{}, r)
}

// redactor knows the secrets of this run.
func redactor(cmd *cobra.Command) *redact.Redactor {
	r, _ := cmd.Context().Value(redactorKey{}).(*redact.Redactor)
	return r
}

// filtered is a writer to w without the secrets that r knows. A terminal stays one.
// The function writes what is held back.
func filtered(r *redact.Redactor, w io.Writer) (io.Writer, func() error) {
	if f, ok := w.(*os.File); ok {
		filtered := r.File(f)
		return filtered, filtered.Flush
	}
	filtered := r.Writer(w)
	return filtered, filtered.Flush
}
