package redact_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/redact"
)

type late struct{ text string }

func (l late) LogValue() slog.Value { return slog.StringValue(l.text) }

// Nothing that a record can carry gets through, in either form.
func TestHandler(t *testing.T) {
	const value = "hunter22-and-more"
	address, err := url.Parse("https://user:" + value + "@example.com/")
	require.NoError(t, err)
	forms := map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	}
	for name, form := range forms {
		var out bytes.Buffer
		r := &redact.Redactor{}
		// Attributes and groups that were given before the value was known.
		logger := slog.New(r.Handler(form(&out))).With("early", value).WithGroup("group-"+value).With("second", value)
		r.Add([]byte(value))
		r.Add([]byte("123456789"))
		logger.InfoContext(context.Background(), "message "+value,
			"string", value, value, "key", "error", errors.New(value), "bytes", []byte(value),
			"struct", struct{ Name, Value string }{"name", value}, "map", map[string]any{value: 1, "x": []string{value}},
			"url", address, "late", late{value}, "number", 123456789, "float", 1.5, "time", time.Unix(0, 0).UTC(),
			"group", slog.GroupValue(slog.String("inner", value)), "fine", "fine")
		logger.DebugContext(context.Background(), "not enabled")
		text := out.String()
		require.NotContains(t, text, value, name)
		require.NotContains(t, text, "123456789", name)
		require.False(t, r.Contains(text), name)
		require.Contains(t, text, "fine")
		require.Contains(t, text, "1.5")
		require.Contains(t, text, "1970-01-01T00:00:00")
		require.NotContains(t, text, "not enabled")
		require.GreaterOrEqual(t, strings.Count(text, redact.Mark), 14, text)
	}
}
