package redact_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/redact"
)

const secret = `p4$$w0rd "<&>" ö/+?=`

func redactor(t *testing.T, values ...string) *redact.Redactor {
	t.Helper()
	r := &redact.Redactor{}
	for _, v := range values {
		require.True(t, r.Add([]byte(v)))
	}
	return r
}

func TestEncodings(t *testing.T) {
	r := redactor(t, secret)
	j, err := json.Marshal(secret)
	require.NoError(t, err)
	jj, err := json.Marshal(string(j))
	require.NoError(t, err)
	forms := map[string]string{
		"plain":      secret,
		"hex":        hex.EncodeToString([]byte(secret)),
		"HEX":        fmt.Sprintf("%X", secret),
		"query":      url.QueryEscape(secret),
		"path":       url.PathEscape(secret),
		"lower path": regexp.MustCompile("%..").ReplaceAllStringFunc(url.PathEscape(secret), strings.ToLower),
		"user":       url.UserPassword("u", secret).String(),
		"json":       string(j),
		"json twice": string(jj),
		"quoted":     fmt.Sprintf("%q", secret),
		"ascii":      fmt.Sprintf("%+q", secret),
		"html":       html.EscapeString(secret),
		"bytes":      fmt.Sprintf("%v", []byte(secret)),
	}
	for offset := range 3 {
		in := strings.Repeat("u", offset) + secret + " and more"
		forms[fmt.Sprint("base64 ", offset)] = base64.StdEncoding.EncodeToString([]byte(in))
		forms[fmt.Sprint("base64url ", offset)] = base64.URLEncoding.EncodeToString([]byte(in))
	}
	for name, form := range forms {
		out := r.String("before " + form + " after")
		require.Contains(t, out, redact.Mark, name)
		require.True(t, strings.HasPrefix(out, "before ") && strings.HasSuffix(out, " after"), "%s: %s", name, out)
		require.False(t, r.Contains(out), name)
		// What is left around a mark is what base64 mixes with its neighbours.
		rest := strings.TrimSuffix(strings.TrimPrefix(strings.ReplaceAll(out, redact.Mark, ""), "before "), " after")
		require.LessOrEqual(t, len(rest), 18, "%s: %s", name, out)
	}
}

func TestReplacement(t *testing.T) {
	r := redactor(t, "abcdef", "defghi", "abcdefgh")
	for in, want := range map[string]string{
		"":                   "",
		"abcde":              "abcde",
		"abcdef":             "«redacted»",
		"x abcdef y":         "x «redacted» y",
		"abcdefghi":          "«redacted»",
		"abcdefabcdef":       "«redacted»",
		"abcdefg":            "«redacted»g",
		"abcdefxabcdefgh":    "«redacted»x«redacted»",
		"ABCDEF 61626364656": "ABCDEF 61626364656",
	} {
		require.Equal(t, want, r.String(in))
		require.Equal(t, want, string(r.Bytes([]byte(in))))
		for size := 1; size <= len(in); size++ {
			require.Equal(t, want, chunked(t, r, in, size), "by %d bytes", size)
		}
	}
}

func chunked(t *testing.T, r *redact.Redactor, in string, size int) string {
	t.Helper()
	var out bytes.Buffer
	w := r.Writer(&out)
	for len(in) > 0 {
		n := min(size, len(in))
		written, err := w.Write([]byte(in[:n]))
		require.NoError(t, err)
		require.Equal(t, n, written)
		in = in[n:]
	}
	require.NoError(t, w.Close())
	return out.String()
}

func TestShortValuesStay(t *testing.T) {
	r := &redact.Redactor{}
	require.False(t, r.Add([]byte("12345")))
	require.False(t, r.Add([]byte("  1234 \n")))
	require.Equal(t, "12345", r.String("12345"))
	require.True(t, r.Add([]byte("123456\n")), "white space around does not count, but the rest is long enough")
	require.Equal(t, "«redacted»", r.String("123456"))
}

func TestNoneKnown(t *testing.T) {
	var none *redact.Redactor
	for _, r := range []*redact.Redactor{none, {}} {
		require.Equal(t, "text", r.String("text"))
		require.False(t, r.Contains("text"))
		require.Equal(t, "text", chunked(t, r, "text", 1))
		require.NoError(t, r.Error(nil))
		require.EqualError(t, r.Error(errors.New("text")), "text")
	}
}

// A private key is known by pieces and lines: indented, cut, and in the middle of other text.
func TestLongValues(t *testing.T) {
	line := func(n int) string {
		return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{byte(n), byte(n * 7), 99}, 16))
	}
	var key strings.Builder
	key.WriteString("-----BEGIN PRIVATE KEY-----\n")
	for i := range 25 {
		key.WriteString(line(i) + "\n")
	}
	key.WriteString("-----END PRIVATE KEY-----\n")
	r := redactor(t, key.String())
	require.Equal(t, redact.Mark, strings.TrimSpace(r.String(key.String())))
	require.NotContains(t, r.String("cut: "+key.String()[100:300]), line(3))
	require.NotContains(t, r.String("    "+strings.ReplaceAll(key.String(), "\n", "\n    ")), line(7))
	require.Equal(t, "-----BEGIN PRIVATE KEY-----", r.String("-----BEGIN PRIVATE KEY-----"), "the armour is no secret")
	encoded := base64.StdEncoding.EncodeToString([]byte("x" + key.String()))
	for i := 0; i+20 < len(encoded)-8; i++ {
		require.NotContains(t, r.String(encoded), encoded[i:i+20])
	}
}

func TestErrorKeepsItsChain(t *testing.T) {
	r := redactor(t, secret)
	inner := fmt.Errorf("log in with %s: %w", secret, io.ErrUnexpectedEOF)
	err := r.Error(inner)
	require.EqualError(t, err, "log in with «redacted»: unexpected EOF")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Equal(t, err, r.Error(err), "filtered once")
	outer := r.Error(fmt.Errorf("%s: %w", secret, err))
	require.EqualError(t, outer, "«redacted»: log in with «redacted»: unexpected EOF")

	later := r.Error(errors.New("learned afterwards"))
	r.Add([]byte("afterwards"))
	require.EqualError(t, later, "learned «redacted»")
}

func TestEnvironment(t *testing.T) {
	r := &redact.Redactor{}
	r.AddEnvironment([]string{"DB_PASSWORD=hunter22", "HOME=/home/someone", "NPM_TOKEN=", "BASIC_AUTH=disabled", "broken"})
	require.Equal(t, "«redacted» /home/someone disabled", r.String("hunter22 /home/someone disabled"))
}

type broken struct{ after int }

func (b *broken) Write(p []byte) (int, error) {
	if b.after--; b.after < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

func TestWriterFails(t *testing.T) {
	w := redactor(t, secret).Writer(&broken{after: 1})
	_, err := w.Write([]byte("first"))
	require.NoError(t, err)
	_, err = w.Write([]byte("second"))
	require.ErrorIs(t, err, io.ErrClosedPipe)
	require.ErrorIs(t, w.Close(), io.ErrClosedPipe)
}

func TestWriterHoldsLittle(t *testing.T) {
	r := redactor(t, strings.Repeat("a", 4000))
	var out bytes.Buffer
	w := r.Writer(&out)
	for range 10_000 {
		_, err := w.Write(bytes.Repeat([]byte("a"), 100))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.Equal(t, redact.Mark, out.String(), "one mark for a secret without end")
}

// Values are learned while others write.
func TestConcurrent(t *testing.T) {
	r := &redact.Redactor{}
	var out bytes.Buffer
	w := r.Writer(&out)
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for n := range 50 {
				value := fmt.Sprintf("secret-%d-%d;", i, n)
				r.Add([]byte(value))
				_, _ = io.WriteString(w, value+"\n")
			}
		})
	}
	group.Wait()
	require.NoError(t, w.Close())
	require.NotContains(t, out.String(), ";")
}

func TestCrash(t *testing.T) {
	r := redactor(t, secret)
	for _, value := range []any{secret, errors.New(secret), []string{secret}, fmt.Errorf("why: %s", secret)} {
		var out bytes.Buffer
		ended := false
		func() {
			defer r.Crash(&out, func() { ended = true })
			panic(value)
		}()
		require.True(t, ended)
		require.Contains(t, out.String(), "panic: ")
		require.Contains(t, out.String(), redact.Mark)
		require.Contains(t, out.String(), "redact_test.go")
		require.NotContains(t, out.String(), secret)
	}
	r.Crash(io.Discard, func() { t.Error("there was no panic") })
}

func FuzzWriter(f *testing.F) {
	f.Add("hunter22", "before ", " after", byte(0), byte(3))
	f.Add(secret, "{\"a\":\"", "\"}", byte(5), byte(1))
	f.Add("aaaaaaa", "aaa", "aaaa", byte(1), byte(2))
	f.Add(strings.Repeat("0123456789", 30), "", "\n", byte(2), byte(17))
	f.Fuzz(func(t *testing.T, secret, before, after string, form, size byte) {
		secret = strings.TrimSpace(secret)
		if len(secret) < redact.MinLength || len(secret) > 1000 {
			return
		}
		encode := []func(string) string{
			func(s string) string { return s },
			func(s string) string { return hex.EncodeToString([]byte(s)) },
			url.QueryEscape,
			url.PathEscape,
			func(s string) string { return fmt.Sprintf("%q", s) },
			func(s string) string { dt, _ := json.Marshal(s); return string(dt) },
			html.EscapeString,
			func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
			func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("x" + s)) },
			func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("xy" + s)) },
		}[form%10]
		r := &redact.Redactor{}
		require.True(t, r.Add([]byte(secret)))
		in := before + encode(secret) + after
		out := chunked(t, r, in, int(size)%50+1)
		require.Contains(t, out, redact.Mark, "the secret was seen")
		for between := range strings.SplitSeq(out, redact.Mark) {
			require.NotContains(t, between, secret)
			require.False(t, len(between) >= len(secret) && r.Contains(between), "%q is left of %q", between, in)
		}
		if !strings.Contains(before, redact.Mark) && !r.Contains(before) {
			harmless := before
			require.Equal(t, harmless, chunked(t, r, harmless, int(size)%50+1), "text without a secret is not changed")
		}
	})
}

func BenchmarkWriter(b *testing.B) {
	r := &redact.Redactor{}
	for i := range 20 {
		r.Add(fmt.Appendf(nil, "secret-value-%d-%x", i, i*7919))
	}
	line := []byte("2026-01-02T03:04:05Z INFO stage=scan image=registry.example.com/team/app:1 packages=412 duration=1.532s\n")
	w := r.Writer(io.Discard)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		_, _ = w.Write(line)
	}
}
