package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/cobra"

	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/credentials"
	"github.com/temper-images/temper/client/redact"
	"github.com/temper-images/temper/client/secretref"
	"github.com/temper-images/temper/client/secretstore"
	"github.com/temper-images/temper/client/settings"
	"github.com/temper-images/temper/client/telemetry"
	"github.com/temper-images/temper/frontend/config"
)

type (
	redactorKey struct{}
	storesKey   struct{}
)

// withSecrets gives the commands the filter that everything they print passes, and
// what resolves references to secrets.
func withSecrets(ctx context.Context, r *redact.Redactor, stores *secretstore.Resolver) context.Context {
	return context.WithValue(context.WithValue(ctx, redactorKey{}, r), storesKey{}, stores)
}

// redactor knows the secrets of this run.
func redactor(cmd *cobra.Command) *redact.Redactor {
	r, _ := cmd.Context().Value(redactorKey{}).(*redact.Redactor)
	return r
}

// stores resolves references; what it resolved is wiped at the end of the run.
func stores(ctx context.Context) *secretstore.Resolver {
	s, _ := ctx.Value(storesKey{}).(*secretstore.Resolver)
	return s
}

// keychain has the registries' credentials, of Docker's configuration and its
// helpers. References in it are resolved for the registries that are asked.
func keychain(ctx context.Context) authn.Keychain {
	k, err := logins(ctx, nil)
	if err != nil {
		// Only logins can be wrong, and there are none.
		return authn.DefaultKeychain
	}
	return k
}

// logins is the keychain with the logins of the settings before all others.
func logins(ctx context.Context, list []config.Login) (authn.Keychain, error) {
	r, _ := ctx.Value(redactorKey{}).(*redact.Redactor)
	o := credentials.Options{Logins: map[string]credentials.Login{}, Stores: stores(ctx), Secrets: r}
	for _, l := range list {
		var login credentials.Login
		for _, v := range []struct {
			from string
			to   *secretref.Value
		}{{l.Username, &login.Username}, {l.Password, &login.Password}, {l.Token, &login.Token}} {
			var err error
			if *v.to, err = secretref.Parse(v.from); err != nil {
				return nil, &build.InputError{Err: fmt.Errorf("push.logins: %s: %w", l.Registry, err)}
			}
		}
		if _, twice := o.Logins[l.Registry]; twice {
			return nil, &build.InputError{Err: fmt.Errorf("push.logins: %s is there twice", l.Registry)}
		}
		o.Logins[l.Registry] = login
	}
	k, err := credentials.New(o)
	if err != nil {
		return nil, &build.InputError{Err: fmt.Errorf("push.logins: %w", err)}
	}
	return k, nil
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
	if o.Endpoint == "" && os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && s.Log.OTLP != "" {
		v, err := secretref.Parse(s.Log.OTLP)
		if err != nil {
			return o, &build.InputError{Err: fmt.Errorf("log.otlp: %w", err)}
		}
		if o.Endpoint, err = stores(cmd.Context()).Text(cmd.Context(), v); err != nil {
			return o, fmt.Errorf("log.otlp: %w", err)
		}
	}
	if len(s.Log.Headers) == 0 || o.Endpoint == "" && os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" {
		return o, nil
	}
	headers := map[string]string{}
	for _, h := range s.Log.Headers {
		name, value, _ := strings.Cut(h, "=")
		v, err := secretref.Parse(value)
		if err != nil {
			return o, &build.InputError{Err: fmt.Errorf("log.headers: %s: %w", name, err)}
		}
		if headers[name], err = stores(cmd.Context()).Text(cmd.Context(), v); err != nil {
			return o, fmt.Errorf("log.headers: %s: %w", name, err)
		}
	}
	for name, value := range o.Headers {
		headers[name] = value
	}
	o.Headers = headers
	return o, nil
}
