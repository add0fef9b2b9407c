package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/redact"
	"github.com/temper-images/temper/client/secretref"
	"github.com/temper-images/temper/client/secretstore"
	"github.com/temper-images/temper/client/settings"
	"github.com/temper-images/temper/client/telemetry"
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

// recordsOf puts the settings below what flags and the environment say about
// records.
func recordsOf(cmd *cobra.Command, o telemetry.Options, s *settings.Settings) (telemetry.Options, error) {
	if o.Format == "" && os.Getenv("TEMPER_LOG_FORMAT") == "" {
		o.Format = telemetry.Format(s.Log.Format)
	}
	if !cmd.Flags().Changed("log-level") {
		if err := o.Level.UnmarshalText([]byte(s.Log.Level)); err != nil {
			o.Level = slog.LevelInfo
		}
	}
	if o.Endpoint == "" && os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" {
		o.Endpoint = s.Log.OTLP
	}
	if len(s.Log.Headers) == 0 {
		return o, nil
	}
	secrets := secretstore.NewResolver(secretstore.Options{Secrets: redactor(cmd)})
	defer secrets.Close()
	headers := map[string]string{}
	for _, h := range s.Log.Headers {
		name, value, _ := strings.Cut(h, "=")
		v, err := secretref.Parse(value)
		if err != nil {
			return o, &build.InputError{Err: fmt.Errorf("log.headers: %s: %w", name, err)}
		}
		if headers[name], err = secrets.Text(cmd.Context(), v); err != nil {
			return o, fmt.Errorf("log.headers: %s: %w", name, err)
		}
	}
	for name, value := range o.Headers {
		headers[name] = value
	}
	o.Headers = headers
	return o, nil
}
