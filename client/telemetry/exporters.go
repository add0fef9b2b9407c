package telemetry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc/credentials"
)

// signal is one of the three things that OTLP carries, by its name in variables
// of the environment.
type signal string

const (
	logs    signal = "LOGS"
	traces  signal = "TRACES"
	metrics signal = "METRICS"
)

// retry is how long the exporters try while the build runs; the end has a bound of
// its own.
var retry = struct {
	Enabled                                      bool
	InitialInterval, MaxInterval, MaxElapsedTime time.Duration
}{true, 500 * time.Millisecond, 5 * time.Second, 30 * time.Second}

// wanted says whether a signal is exported, as the specification of the OTEL_*
// variables has it; only that nothing is exported by default.
func (o *Options) wanted(s signal) (bool, error) {
	if strings.EqualFold(o.Getenv("OTEL_SDK_DISABLED"), "true") {
		return false, nil
	}
	name := "OTEL_" + string(s) + "_EXPORTER"
	switch v := o.Getenv(name); v {
	case "none":
		return false, nil
	case "otlp":
		return true, nil
	case "":
		return o.Endpoint != "" || o.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || o.Getenv("OTEL_EXPORTER_OTLP_"+string(s)+"_ENDPOINT") != "", nil
	default:
		return false, &OptionError{name, v, errors.New("temper exports by otlp or none")}
	}
}

// transport is what a signal is sent by.
func (o *Options) transport(s signal) (Protocol, *tls.Config, error) {
	p, err := o.protocol(s)
	if err != nil {
		return "", nil, err
	}
	t, err := o.tlsConfig()
	return p, t, err
}

func (o *Options) protocol(s signal) (Protocol, error) {
	if o.Protocol != "" {
		return o.Protocol, nil
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_" + string(s) + "_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		switch v := Protocol(o.Getenv(name)); v {
		case "":
		case HTTP, GRPC:
			return v, nil
		default:
			return "", &OptionError{name, string(v), fmt.Errorf("it is one of %s, %s", HTTP, GRPC)}
		}
	}
	return HTTP, nil
}

// url is the address of the signal by HTTP.
func (o *Options) url(path string) string { return strings.TrimSuffix(o.Endpoint, "/") + path }

// tlsConfig is nil when the environment is to say.
func (o *Options) tlsConfig() (*tls.Config, error) {
	if o.CACert == "" && o.Cert == "" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CACert != "" {
		dt, err := os.ReadFile(o.CACert)
		if err != nil {
			return nil, &OptionError{Option: "OTLP CA certificate", Err: err}
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(dt) {
			return nil, &OptionError{"OTLP CA certificate", o.CACert, errors.New("there is no PEM certificate in it")}
		}
	}
	if o.Cert != "" {
		pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil {
			return nil, &OptionError{Option: "OTLP client certificate", Err: err}
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// settings are the options of one exporter. Each exporter has types of its own for
// them, though all say the same.
func settings[T any](o *Options, endpoint string, t *tls.Config,
	withURL func(string) T, withHeaders func(map[string]string) T, withTLS func(*tls.Config) T, withRetry T,
) []T {
	opts := []T{withRetry}
	if o.Endpoint != "" {
		opts = append(opts, withURL(endpoint))
	}
	if o.Headers != nil {
		opts = append(opts, withHeaders(o.Headers))
	}
	if t != nil {
		opts = append(opts, withTLS(t))
	}
	return opts
}

func (o *Options) logExporter(ctx context.Context) (sdklog.Exporter, error) {
	protocol, t, err := o.transport(logs)
	if err != nil {
		return nil, err
	}
	if protocol == GRPC {
		return otlploggrpc.New(ctx, settings(o, o.Endpoint, t, otlploggrpc.WithEndpointURL, otlploggrpc.WithHeaders,
			func(t *tls.Config) otlploggrpc.Option { return otlploggrpc.WithTLSCredentials(credentials.NewTLS(t)) },
			otlploggrpc.WithRetry(otlploggrpc.RetryConfig(retry)))...)
	}
	return otlploghttp.New(ctx, settings(o, o.url("/v1/logs"), t, otlploghttp.WithEndpointURL, otlploghttp.WithHeaders,
		otlploghttp.WithTLSClientConfig, otlploghttp.WithRetry(otlploghttp.RetryConfig(retry)))...)
}

func (o *Options) spanExporter(ctx context.Context) (sdktrace.SpanExporter, error) {
	protocol, t, err := o.transport(traces)
	if err != nil {
		return nil, err
	}
	if protocol == GRPC {
		return otlptracegrpc.New(ctx, settings(o, o.Endpoint, t, otlptracegrpc.WithEndpointURL, otlptracegrpc.WithHeaders,
			func(t *tls.Config) otlptracegrpc.Option {
				return otlptracegrpc.WithTLSCredentials(credentials.NewTLS(t))
			},
			otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig(retry)))...)
	}
	return otlptracehttp.New(ctx, settings(o, o.url("/v1/traces"), t, otlptracehttp.WithEndpointURL, otlptracehttp.WithHeaders,
		otlptracehttp.WithTLSClientConfig, otlptracehttp.WithRetry(otlptracehttp.RetryConfig(retry)))...)
}

func (o *Options) metricExporter(ctx context.Context) (metric.Exporter, error) {
	protocol, t, err := o.transport(metrics)
	if err != nil {
		return nil, err
	}
	if protocol == GRPC {
		return otlpmetricgrpc.New(ctx, settings(o, o.Endpoint, t, otlpmetricgrpc.WithEndpointURL, otlpmetricgrpc.WithHeaders,
			func(t *tls.Config) otlpmetricgrpc.Option {
				return otlpmetricgrpc.WithTLSCredentials(credentials.NewTLS(t))
			},
			otlpmetricgrpc.WithRetry(otlpmetricgrpc.RetryConfig(retry)))...)
	}
	return otlpmetrichttp.New(ctx, settings(o, o.url("/v1/metrics"), t, otlpmetrichttp.WithEndpointURL, otlpmetrichttp.WithHeaders,
		otlpmetrichttp.WithTLSClientConfig, otlpmetrichttp.WithRetry(otlpmetrichttp.RetryConfig(retry)))...)
}
