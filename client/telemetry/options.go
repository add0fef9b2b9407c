// Package telemetry sets up where the client's log records, traces and metrics go:
// structured records on standard error, and all three over OTLP, the
// OpenTelemetry protocol.
//
// Nothing leaves the process unless it is configured. A collector that does not
// answer costs one warning and, at the end, a bounded time.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/temper-images/temper/client/redact"
)

// Format is how records are written to standard error.
type Format string

// The formats. Text is one line of key=value pairs a record, JSON one object a
// line.
const (
	None Format = "none"
	Text Format = "text"
	JSON Format = "json"
)

// Protocol is how OTLP is spoken.
type Protocol string

// The protocols, by the names that OTEL_EXPORTER_OTLP_PROTOCOL has for them.
const (
	HTTP Protocol = "http/protobuf"
	GRPC Protocol = "grpc"
)

// DefaultShutdown bounds how long Shutdown waits for a collector.
const DefaultShutdown = 5 * time.Second

// Options say where records, traces and metrics go. The zero value is nowhere but
// where the OTEL_* variables of the environment say; each field that is not empty
// goes before its variable.
type Options struct {
	// Format and Level choose the records on Out. Empty means None; the level is
	// also that of records over OTLP.
	Format Format
	Level  slog.Level
	// Out receives the records, and nothing else. Nil means os.Stderr.
	Out io.Writer

	// Endpoint is the URL of an OTLP collector, "https://otel.example.com:4318".
	// With HTTP, /v1/logs, /v1/traces and /v1/metrics are added to its path.
	Endpoint string
	// Protocol is HTTP or GRPC. Empty means HTTP.
	Protocol Protocol
	// Headers go with every request. Their values are secrets.
	Headers map[string]string
	// CACert, Cert and Key are PEM files: who the collector must be signed by,
	// and who is calling.
	CACert, Cert, Key string

	// Version is the version of the program.
	Version string
	// Resource are further attributes of the program that runs: what the CI
	// platform says of the run, by the names of the semantic conventions.
	Resource map[string]string

	// Redact knows the secrets. All that goes out passes it: records, names and
	// attributes of spans, warnings. It learns the values of headers. Nil means
	// that there are no secrets.
	Redact *redact.Redactor
	// Warn receives the one line that says why telemetry was lost. It is called
	// at most once. Nil means that nobody is told.
	Warn func(string)
	// Shutdown bounds how long the end may take. Zero means DefaultShutdown.
	Shutdown time.Duration
	// Getenv is os.Getenv unless a test has an environment of its own. The
	// exporters read variables besides.
	Getenv func(string) string
}

// AddFlags defines the command line's flags. They write into o when the flags are
// parsed.
func (o *Options) AddFlags(flags *pflag.FlagSet) {
	flags.Var((*formatValue)(&o.Format), "log-format", "Structured records of what is done, on standard error: text, json, none (environment: TEMPER_LOG_FORMAT; default: none)")
	flags.Var((*levelValue)(&o.Level), "log-level", "Least level of a record: debug, info, warn, error")
	flags.StringVar(&o.Endpoint, "otlp-endpoint", "", "OpenTelemetry collector for records, traces and metrics, for example http://localhost:4318 (environment: OTEL_EXPORTER_OTLP_ENDPOINT)")
	flags.Var((*protocolValue)(&o.Protocol), "otlp-protocol", "Protocol of the collector: http/protobuf, grpc (environment: OTEL_EXPORTER_OTLP_PROTOCOL)")
	flags.Var((*headersValue)(o), "otlp-header", "Header for the collector, NAME=VALUE, may be repeated; others see the command line, so secrets are better in OTEL_EXPORTER_OTLP_HEADERS")
	flags.StringVar(&o.CACert, "otlp-cacert", "", "CA certificate of the collector (environment: OTEL_EXPORTER_OTLP_CERTIFICATE)")
	flags.StringVar(&o.Cert, "otlp-cert", "", "Client certificate for the collector (environment: OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE)")
	flags.StringVar(&o.Key, "otlp-key", "", "Client key for the collector (environment: OTEL_EXPORTER_OTLP_CLIENT_KEY)")
}

// OptionError says that an option or a variable of the environment cannot be used.
type OptionError struct {
	// Option names the flag or variable, Value is what it said; it is empty for
	// what may be a secret.
	Option, Value string
	Err           error
}

func (e *OptionError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("%s: %v", e.Option, e.Err)
	}
	return fmt.Sprintf("%s %s: %v", e.Option, e.Value, e.Err)
}

func (e *OptionError) Unwrap() error { return e.Err }

// complete fills in what is empty and checks what is not.
func (o *Options) complete() error {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Out == nil {
		o.Out = os.Stderr
	}
	o.learnHeaders()
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	if o.Shutdown == 0 {
		o.Shutdown = DefaultShutdown
	}
	if v := o.Getenv("TEMPER_LOG_FORMAT"); v != "" && o.Format == "" {
		if err := (*formatValue)(&o.Format).Set(v); err != nil {
			return &OptionError{"TEMPER_LOG_FORMAT", v, err}
		}
	}
	if o.Format == "" {
		o.Format = None
	}
	if err := new(formatValue).Set(string(o.Format)); err != nil {
		return &OptionError{"log format", string(o.Format), err}
	}
	if o.Protocol != "" {
		if err := new(protocolValue).Set(string(o.Protocol)); err != nil {
			return &OptionError{"OTLP protocol", string(o.Protocol), err}
		}
	}
	if o.Endpoint != "" {
		u, err := url.Parse(o.Endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return &OptionError{"OTLP endpoint", o.Redact.String(o.Endpoint), fmt.Errorf("it must be a URL with http:// or https:// and a host")}
		}
	}
	if (o.Cert == "") != (o.Key == "") {
		return &OptionError{Option: "OTLP client certificate", Err: fmt.Errorf("certificate and key go together")}
	}
	return nil
}

// learnHeaders makes the values of headers known as secrets, those of the
// environment too. Of "Bearer TOKEN", the token is one by itself.
func (o *Options) learnHeaders() {
	if o.Redact == nil {
		return
	}
	values := slices.Collect(maps.Values(o.Headers))
	for _, infix := range []string{"", "LOGS_", "TRACES_", "METRICS_"} {
		for pair := range strings.SplitSeq(o.Getenv("OTEL_EXPORTER_OTLP_"+infix+"HEADERS"), ",") {
			_, value, _ := strings.Cut(pair, "=")
			values = append(values, value)
			if plain, err := url.PathUnescape(value); err == nil {
				values = append(values, plain)
			}
		}
	}
	for _, v := range values {
		o.Redact.Add([]byte(v))
		if _, token, ok := strings.Cut(v, " "); ok {
			o.Redact.Add([]byte(token))
		}
	}
}

type formatValue Format

func (v *formatValue) Set(s string) error {
	return choose((*string)(v), s, string(Text), string(JSON), string(None))
}
func (v *formatValue) String() string { return string(*v) }
func (v *formatValue) Type() string   { return "string" }

type protocolValue Protocol

func (v *protocolValue) Set(s string) error {
	// "http" is what people write; JSON over HTTP is not spoken.
	if s == "http" {
		s = string(HTTP)
	}
	return choose((*string)(v), s, string(HTTP), string(GRPC))
}
func (v *protocolValue) String() string { return string(*v) }
func (v *protocolValue) Type() string   { return "string" }

func choose(to *string, s string, from ...string) error {
	if !slices.Contains(from, s) {
		return fmt.Errorf("it is one of %s", strings.Join(from, ", "))
	}
	*to = s
	return nil
}

type levelValue slog.Level

func (v *levelValue) Set(s string) error {
	var l slog.Level
	if err := l.UnmarshalText([]byte(s)); err != nil {
		return fmt.Errorf("it is one of debug, info, warn, error")
	}
	*v = levelValue(l)
	return nil
}
func (v *levelValue) String() string { return strings.ToLower(slog.Level(*v).String()) }
func (v *levelValue) Type() string   { return "string" }

// AddHeader adds a header, "NAME=VALUE", to Headers. The error does not repeat the
// value.
func (o *Options) AddHeader(s string) error {
	key, value, ok := strings.Cut(s, "=")
	if key = strings.TrimSpace(key); !ok || key == "" || strings.ContainsAny(key, " \t\r\n:") || strings.ContainsAny(value, "\r\n") {
		return fmt.Errorf("want NAME=VALUE")
	}
	if o.Headers == nil {
		o.Headers = map[string]string{}
	}
	o.Headers[key] = value
	return nil
}

// headersValue is the flag for headers. It prints none, because help and errors
// would show the values.
type headersValue Options

func (v *headersValue) Set(s string) error { return (*Options)(v).AddHeader(s) }
func (v *headersValue) String() string     { return "" }
func (v *headersValue) Type() string       { return "stringArray" }
