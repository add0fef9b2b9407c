// Package otlp tests what temper tells of its work with a real OpenTelemetry
// collector and a real buildkitd.
package otlp
