package leak_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/redact"
	"github.com/temper-images/temper/integration/leak"
)

const secret = `p1anted "53cret" <&>/+`

func search(t *testing.T) *leak.Search {
	t.Helper()
	s, err := leak.New(leak.Secret{Name: "the password", Value: secret}, leak.Secret{Name: "another", Value: "never-used-anywhere"})
	require.NoError(t, err)
	return s
}

func gz(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

func zst(t *testing.T, b []byte) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	return e.EncodeAll(b, nil)
}

func archive(t *testing.T, h tar.Header, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	h.Size, h.Mode = int64(len(b)), 0o644
	require.NoError(t, w.WriteHeader(&h))
	_, err := w.Write(b)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

func wrap(s string, n int) string {
	return regexp.MustCompile(fmt.Sprintf(".{%d}", n)).ReplaceAllString(s, "$0\n")
}

func TestFinds(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	document, err := json.Marshal(map[string]any{"a": []any{map[string]any{"b": secret}}})
	require.NoError(t, err)
	nested, err := json.Marshal(map[string]string{"payload": b64([]byte(`{"predicate": ` + string(document) + `}`))})
	require.NoError(t, err)
	text, err := json.Marshal(map[string]string{"text": string(document)})
	require.NoError(t, err)
	for name, data := range map[string][]byte{
		"plain":               []byte("before " + secret + " after"),
		"hex":                 []byte(hex.EncodeToString([]byte("x" + secret))),
		"HEX":                 []byte(strings.ToUpper(hex.EncodeToString([]byte("x" + secret)))),
		"query":               []byte("https://x/?a=" + url.QueryEscape(secret) + "&b"),
		"path":                []byte("https://x/" + url.PathEscape(secret)),
		"base64 0":            []byte(b64([]byte(secret + "behind"))),
		"base64 1":            []byte(b64([]byte("1" + secret + "behind"))),
		"base64 2":            []byte(b64([]byte("12" + secret + "behind"))),
		"base64url":           []byte(base64.RawURLEncoding.EncodeToString([]byte("12" + secret))),
		"base64 in lines":     []byte("  x: |\n" + wrap(b64([]byte("some words before "+secret+" and behind")), 20)),
		"quoted":              fmt.Appendf(nil, "%q", secret),
		"bytes":               fmt.Appendf(nil, "%v", []byte(secret)),
		"JSON":                document,
		"JSON in JSON":        text,
		"base64 in JSON":      nested,
		"JSON lines":          []byte("{\"a\": 1}\n" + string(document) + "\n"),
		"gzip":                gz(t, []byte("x"+secret)),
		"zstd":                zst(t, []byte("x"+secret)),
		"second gzip":         append(gz(t, []byte("first")), gz(t, []byte(secret))...),
		"gzip in the middle":  append([]byte("words and words"), append(gz(t, []byte(secret)), "behind"...)...),
		"gzip cut short":      gz(t, []byte(secret+strings.Repeat("much more ", 1000)))[:60],
		"tar":                 archive(t, tar.Header{Name: "etc/motd"}, []byte(secret)),
		"tar name":            archive(t, tar.Header{Name: "etc/" + secret}, nil),
		"tar record":          archive(t, tar.Header{Name: "x", PAXRecords: map[string]string{"SCHILY.xattr.user.a": secret}}, nil),
		"layer in an archive": archive(t, tar.Header{Name: "blobs/x"}, gz(t, archive(t, tar.Header{Name: "etc/x"}, []byte(secret)))),
		"zstd in base64":      []byte(`{"data": "` + b64(zst(t, archive(t, tar.Header{Name: "etc/x"}, []byte(secret)))) + `"}`),
	} {
		s := search(t)
		s.Bytes(name, data)
		found, err := s.Findings()
		require.NoError(t, err, name)
		require.NotEmpty(t, found, name)
		for _, f := range found {
			require.Equal(t, "the password", f.Secret)
			require.True(t, strings.HasPrefix(f.Where, name), f.Where)
			require.Contains(t, s.Report(), f.Form)
		}
	}
}

func TestFindsNothingElse(t *testing.T) {
	s := search(t)
	for _, data := range [][]byte{nil, []byte("p1anted \"53cret\" <&>/"), gz(t, []byte("nothing")), {0x1f, 0x8b, 8, 1}, zst(t, nil), []byte("{broken"), make([]byte, 1000)} {
		s.Bytes("x", data)
	}
	require.Empty(t, s.Report())
	_, err := leak.New(leak.Secret{Name: "short", Value: "12345"})
	require.ErrorContains(t, err, "shorter than 6 bytes")
}

func TestPath(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "a", "never-used-anywhere"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a", "file.gz"), gz(t, []byte(secret)), 0o600))
	require.NoError(t, os.Symlink("never-used-anywhere", filepath.Join(dir, "link")))
	s := search(t)
	require.NoError(t, s.Path(dir))
	found, err := s.Findings()
	require.NoError(t, err)
	var places []string
	for _, f := range found {
		places = append(places, f.Where+": "+f.Secret)
	}
	require.ElementsMatch(t, []string{
		filepath.Join(dir, "a", "file.gz") + " > gzip at 0: the password",
		"name of " + filepath.Join(dir, "a") + ": another",
		filepath.Join(dir, "link") + " > symlink: another",
	}, places)
}

func TestLimits(t *testing.T) {
	data := []byte("x")
	for range 12 {
		data = gz(t, data)
	}
	s := search(t)
	s.Bytes("deep", data)
	require.Contains(t, s.Report(), "packed more than 8 times over: not searched")
}

// What client/redact lets through, nothing here finds.
func TestRedactedTextHasNone(t *testing.T) {
	r := &redact.Redactor{}
	r.Add([]byte(secret))
	j, err := json.Marshal(secret)
	require.NoError(t, err)
	for _, form := range []string{
		secret, string(j), url.QueryEscape(secret), url.PathEscape(secret), fmt.Sprintf("%q", secret), fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret),
		base64.StdEncoding.EncodeToString([]byte(secret)), base64.URLEncoding.EncodeToString([]byte("x" + secret)), base64.StdEncoding.EncodeToString([]byte("xy" + secret + "z")),
	} {
		s := search(t)
		s.Bytes("before", []byte("a "+form+" b"))
		require.NotEmpty(t, s.Report(), form)
		s = search(t)
		s.Bytes("after", []byte(r.String("a "+form+" b")))
		require.Empty(t, s.Report(), form)
	}
}
