package leak

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
)

var (
	gzipMagic = []byte{0x1f, 0x8b, 0x08}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
	tarMagic  = []byte("ustar")
)

// packed says whether there is anything to unpack.
func packed(data []byte) bool {
	return bytes.HasPrefix(data, gzipMagic) || bytes.HasPrefix(data, zstdMagic) || isTar(data)
}

func isTar(data []byte) bool { return len(data) >= 512 && bytes.Equal(data[257:262], tarMagic) }

// compressed opens every gzip member and zstd frame, wherever in data it begins.
// A magic number that begins none gives an error, and nothing to search.
func (s *Search) compressed(where string, data []byte, depth int) {
	for _, kind := range []struct {
		name  string
		magic []byte
		open  func(io.Reader) (io.Reader, func(), error)
	}{
		{"gzip", gzipMagic, func(r io.Reader) (io.Reader, func(), error) {
			z, err := gzip.NewReader(r)
			if err != nil {
				return nil, nil, err
			}
			z.Multistream(false)
			return z, func() {}, nil
		}},
		{"zstd", zstdMagic, func(r io.Reader) (io.Reader, func(), error) {
			z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
			if err != nil {
				return nil, nil, err
			}
			return z, z.Close, nil
		}},
	} {
		for at := 0; ; {
			i := bytes.Index(data[at:], kind.magic)
			if i < 0 {
				break
			}
			at += i
			r := bytes.NewReader(data[at:])
			z, done, err := kind.open(r)
			if err == nil {
				// What came before an error counts: a file may be cut short.
				content := s.take(where, z)
				done()
				if len(content) > 0 {
					s.look(fmt.Sprintf("%s > %s at %d", where, kind.name, at), content, depth+1)
				}
			}
			at += len(kind.magic)
		}
	}
}

// take reads what is packed, as far as the limit allows.
func (s *Search) take(where string, r io.Reader) []byte {
	content, err := io.ReadAll(io.LimitReader(r, s.left+1))
	s.left -= int64(len(content))
	if s.left < 0 {
		s.left = 0
		s.err = fmt.Errorf("%s: unpacks to more than %d bytes: not all of it was searched", where, int64(maxUnpacked))
	}
	_ = err // what could be read is searched
	return content
}

func (s *Search) archive(where string, data []byte, depth int) {
	if !isTar(data) {
		return
	}
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) || err != nil {
			return
		}
		inside := fmt.Sprintf("%s > tar %s", where, h.Name)
		s.names(inside, h.Name+"\n"+h.Linkname)
		for name, value := range h.PAXRecords {
			s.names(inside+" > record", name+"\n"+value)
		}
		s.look(inside, s.take(inside, r), depth+1)
	}
}

// documents decodes JSON, one document or one a line, and searches its strings and
// keys; base64 in them is decoded in turn.
func (s *Search) documents(where string, data []byte, depth int) {
	trimmed := bytes.TrimSpace(data)
	if len(trimmed) == 0 || !bytes.ContainsRune([]byte(`{["`), rune(trimmed[0])) {
		return
	}
	d := json.NewDecoder(bytes.NewReader(trimmed))
	d.UseNumber()
	for n := 0; ; n++ {
		var v any
		if err := d.Decode(&v); err != nil {
			return
		}
		root := where + " > JSON"
		if n > 0 {
			root = fmt.Sprintf("%s > JSON %d", where, n)
		}
		s.value(root, v, depth)
	}
}

func (s *Search) value(where string, v any, depth int) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			s.text(where, key, depth)
			s.value(where+"."+key, value, depth)
		}
	case []any:
		for i, value := range v {
			s.value(fmt.Sprintf("%s[%d]", where, i), value, depth)
		}
	case string:
		s.text(where, v, depth)
	}
}

func (s *Search) text(where, text string, depth int) {
	s.raw(where, []byte(text))
	if depth+1 > maxDepth {
		return
	}
	trimmed := strings.TrimSpace(text)
	if strings.HasPrefix(trimmed, "{") || strings.HasPrefix(trimmed, "[") {
		s.documents(where, []byte(trimmed), depth+1)
	}
	if len(text) < 8 {
		return
	}
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if decoded, err := e.DecodeString(text); err == nil {
			s.look(where+" > base64", decoded, depth+1)
			return
		}
	}
}
