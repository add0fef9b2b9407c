package buildtrace

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// recorded is a record as BuildKit writes it.
func recorded(t testing.TB) []byte {
	t.Helper()
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetIndent("", "  ")
	for _, name := range []string{"solve", "exec"} {
		require.NoError(t, enc.Encode(tracetest.SpanStub{
			Name: name, SpanContext: sc, Parent: sc, Attributes: []attribute.KeyValue{attribute.String("vertex", "sha256:ab"), attribute.Int("n", 1)},
			Resource: resource.NewSchemaless(attribute.String("service.name", "buildkitd")),
		}))
	}
	return buf.Bytes()
}

// noValue has an attribute without a value.
const noValue = `{"SpanContext": {"TraceID": "00000000000000000000000000000000", "SpanID": "0000000000000000"},
	"Parent": {"TraceID": "00000000000000000000000000000000", "SpanID": "0000000000000000"},
	"Attributes": [{"Value": {"Type": "STRING"}}]}`

func TestParse(t *testing.T) {
	spans, err := parse(bytes.NewReader(recorded(t)))
	require.NoError(t, err)
	require.Len(t, spans, 2)
	require.Equal(t, "exec", spans[1].Name())
	require.Equal(t, trace.TraceID{1}, spans[1].SpanContext().TraceID())
	require.True(t, spans[1].SpanContext().IsSampled())
	require.Equal(t, trace.SpanID{2}, spans[1].Parent().SpanID())
	require.Contains(t, spans[1].Attributes(), attribute.String("vertex", "sha256:ab"))
	require.Contains(t, spans[1].Resource().Attributes(), attribute.String("service.name", "buildkitd"))

	_, err = parse(strings.NewReader(`{"Name": 1}`))
	require.Error(t, err)
	_, err = parse(strings.NewReader(`{"Name": "x"`))
	require.Error(t, err)
	_, err = parse(strings.NewReader(noValue))
	require.ErrorContains(t, err, "not what BuildKit writes")
}

func FuzzParse(f *testing.F) {
	f.Add(recorded(f))
	f.Add([]byte(noValue))
	f.Add([]byte(`{"Name":"x","Attributes":[{"Key":"a","Value":{"Type":"INT64SLICE","Value":["x"]}}]}`))
	f.Fuzz(func(_ *testing.T, dt []byte) {
		spans, err := parse(bytes.NewReader(dt))
		if err != nil {
			return
		}
		for _, s := range spans {
			_ = s.SpanContext()
			_ = s.Attributes()
			_ = s.Resource().Attributes()
		}
	})
}
