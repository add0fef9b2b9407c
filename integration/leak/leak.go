// Package leak searches files and streams for secrets that were planted: byte by
// byte, in the encodings in which programs write what they were given, and inside
// of what they pack: gzip and zstd, tar, JSON, base64.
//
// It shares no code with what keeps secrets out, so that it can judge that.
package leak

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Limits of a search. What is beyond them fails it, since it was not searched.
const (
	// maxUnpacked is how much is unpacked from one file, in bytes.
	maxUnpacked = 8 << 30
	// maxDepth is how many wrappings are opened, one within the other.
	maxDepth = 8
)

// Secret is what was planted.
type Secret struct {
	// Name stands in findings.
	Name  string
	Value string
}

// Finding is a place where a secret is.
type Finding struct {
	Secret string
	// Where is the file or stream, and the way into it: "out.tar.gz > gzip at 0 > tar etc/motd".
	Where string
	// Form is how the secret is written there: "base64 after 1".
	Form string
	// Offset is the first byte in what Where leads to.
	Offset int
	// Around is what stands there, with some bytes on both sides.
	Around string
}

func (f Finding) String() string {
	return fmt.Sprintf("%s: %s as %s at byte %d: %q", f.Where, f.Secret, f.Form, f.Offset, f.Around)
}

// Search looks for secrets. It is not for several goroutines at once.
type Search struct {
	secrets []planted
	left    int64
	found   []Finding
	err     error
}

// planted is a secret in all its forms.
type planted struct {
	name  string
	forms []form
}

// New begins a search. Secrets are at least 6 bytes long, or they stand everywhere.
func New(secrets ...Secret) (*Search, error) {
	s := &Search{}
	for _, secret := range secrets {
		if len(secret.Value) < 6 {
			return nil, fmt.Errorf("the planted secret %s is shorter than 6 bytes", secret.Name)
		}
		s.secrets = append(s.secrets, planted{secret.Name, forms(secret.Value)})
	}
	return s, nil
}

// Bytes searches a stream that was kept. name stands in findings.
func (s *Search) Bytes(name string, data []byte) {
	s.left = maxUnpacked
	s.look(name, data, 0)
}

// Path searches a file, or all regular files below a directory; their names too.
// Files that vanish meanwhile are passed over.
func (s *Search) Path(path string) error {
	return filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		s.names("name of "+filepath.Dir(name), filepath.Base(name))
		if d.Type()&fs.ModeSymlink != 0 {
			if target, err := os.Readlink(name); err == nil {
				s.names(name+" > symlink", target)
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		s.Bytes(name, data)
		return nil
	})
}

func (s *Search) names(where, name string) { s.raw(where, []byte(name)) }

// Findings are the places found so far, and the error of what could not be searched.
func (s *Search) Findings() ([]Finding, error) { return s.found, s.err }

// Report is the findings as text, a line each, or "" when there are none.
func (s *Search) Report() string {
	var b strings.Builder
	for _, f := range s.found {
		fmt.Fprintln(&b, f)
	}
	if s.err != nil {
		fmt.Fprintln(&b, s.err)
	}
	return b.String()
}

// look searches data as it is, and then everything that is packed in it.
func (s *Search) look(where string, data []byte, depth int) {
	s.raw(where, data)
	if depth == maxDepth {
		if packed(data) {
			s.err = fmt.Errorf("%s: packed more than %d times over: not searched", where, maxDepth)
		}
		return
	}
	s.compressed(where, data, depth)
	s.archive(where, data, depth)
	s.documents(where, data, depth)
}

// around is how much is shown on both sides of a finding, in bytes.
const around = 24

func (s *Search) raw(where string, data []byte) {
	joined := unwrapped(data)
	for _, secret := range s.secrets {
		for _, f := range secret.forms {
			i := bytes.Index(data, f.bytes)
			in := data
			if i < 0 && f.wrapped && joined != nil {
				i, in = bytes.Index(joined, f.bytes), joined
			}
			if i < 0 {
				continue
			}
			finding := Finding{secret.name, where, f.name, i, string(in[max(0, i-around):min(len(in), i+len(f.bytes)+around)])}
			if !slices.Contains(s.found, finding) {
				s.found = append(s.found, finding)
			}
		}
	}
}

// unwrapped is data without line breaks, for base64 that is wrapped in lines; nil
// when there are none, or data is no text.
func unwrapped(data []byte) []byte {
	if !bytes.ContainsRune(data, '\n') && !bytes.Contains(data, []byte(`\n`)) || bytes.IndexByte(data, 0) >= 0 {
		return nil
	}
	out := bytes.ReplaceAll(data, []byte(`\r`), nil)
	out = bytes.ReplaceAll(out, []byte(`\n`), nil)
	return bytes.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == ' ' || r == '\t' {
			return -1
		}
		return r
	}, out)
}
