package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/temper-images/temper/client/signing"
)

// Bounds of a policy file: bytes, and what the YAML parser, which recurses, is
// given.
const (
	maxPolicy = 64 << 10
	maxDepth  = 8
	maxIndent = 40
	maxKeys   = 1000
)

// ReadPolicy reads a policy file. Paths of keys and of trusted roots in it are
// relative to it. The errors are *PolicyError.
func ReadPolicy(name string) (Policy, error) {
	f, err := os.Open(name)
	if err != nil {
		return Policy{}, &PolicyError{File: name, Err: errors.Unwrap(err)}
	}
	defer f.Close()
	dt, err := io.ReadAll(io.LimitReader(f, maxPolicy+1))
	if err != nil {
		return Policy{}, &PolicyError{File: name, Err: err}
	}
	p, err := ParsePolicy(name, dt)
	if err != nil {
		return Policy{}, err
	}
	dir := filepath.Dir(name)
	for i := range p.Signers {
		if k := &p.Signers[i].Key; isFile(*k) {
			*k = beside(dir, *k)
		}
	}
	p.Sigstore.TrustedRoot, p.Sigstore.TUFRoot = beside(dir, p.Sigstore.TrustedRoot), beside(dir, p.Sigstore.TUFRoot)
	return p, nil
}

// isFile says that a key is a path: neither a URL nor a PKCS#11 URI.
func isFile(key string) bool {
	return key != "" && !strings.Contains(key, "://") && !strings.HasPrefix(key, "pkcs11:")
}

func beside(dir, name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// ParsePolicy reads a policy: YAML 1.2, one document, without anchors, aliases and
// tags. A field that there is not is an error. The name is what errors call the
// file. The errors are *PolicyError.
func ParsePolicy(name string, dt []byte) (Policy, error) {
	switch {
	case len(dt) > maxPolicy:
		return Policy{}, &PolicyError{File: name, Err: fmt.Errorf("it has more than %d bytes", maxPolicy)}
	case !utf8.Valid(dt):
		return Policy{}, &PolicyError{File: name, Err: errors.New("it is not UTF-8 text")}
	}
	tokens := lexer.Tokenize(string(dt))
	if tk, err := plain(tokens); err != nil {
		return Policy{}, located(name, tk, "", err)
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		return Policy{}, fromYAML(name, err)
	}
	var body ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case body != nil:
			return Policy{}, located(name, doc.Body.GetToken(), "", errors.New("a second document begins here; the file must hold one"))
		default:
			body = doc.Body
		}
	}
	var p Policy
	if body == nil {
		return p, nil
	}
	if err := yaml.NodeToValue(body, &p, yaml.Strict(), yaml.DisallowUnknownField()); err != nil {
		return Policy{}, fromYAML(name, err)
	}
	if err := p.Check(); err != nil {
		var wrong *PolicyError
		errors.As(err, &wrong)
		return Policy{}, located(name, find(file, wrong.Field), wrong.Field, wrong.Err)
	}
	return p, nil
}

// plain refuses, before anything recurses, what a policy never needs and what could
// be used to exhaust memory.
func plain(tokens token.Tokens) (*token.Token, error) {
	flow, keys := 0, 0
	for _, tk := range tokens {
		switch tk.Type {
		case token.AnchorType, token.AliasType, token.MergeKeyType, token.TagType, token.DirectiveType, token.MappingKeyType:
			return tk, fmt.Errorf("%.20q: anchors, aliases, tags, directives and explicit keys are not accepted; write the values out", tk.Value)
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingValueType:
			at := tk
			if tk.Type == token.MappingValueType && tk.Prev != nil {
				at = tk.Prev
			}
			if keys++; keys > maxKeys {
				return tk, errors.New("it has too many entries")
			}
			if flow == 0 && at.Position.Column > maxIndent {
				return tk, errors.New("it is nested or indented too deeply")
			}
		}
		if flow > maxDepth {
			return tk, errors.New("it is nested too deeply")
		}
	}
	return nil, nil
}

// fromYAML is an error of the YAML library, which knows where.
func fromYAML(name string, err error) error {
	var at yaml.Error
	if errors.As(err, &at) {
		return located(name, at.GetToken(), "", errors.New(at.GetMessage()))
	}
	return located(name, nil, "", err)
}

func located(name string, tk *token.Token, field string, err error) error {
	e := &PolicyError{File: name, Field: field, Err: err}
	if tk != nil && tk.Position != nil {
		e.Line, e.Column = max(tk.Position.Line, 1), max(tk.Position.Column, 1)
	}
	return e
}

// find is where a field stands, or nil.
func find(file *ast.File, field string) *token.Token {
	if field == "" {
		return nil
	}
	at, err := yaml.PathString("$." + field)
	if err != nil {
		return nil
	}
	node, err := at.FilterFile(file)
	if err != nil || node == nil {
		return nil
	}
	return node.GetToken()
}

// Verifiers are those of the policy's signers. The PIN opens a PKCS#11 token, see
// signing.VerifyOptions. Errors are those of signing.NewVerifier, and a *PolicyError
// when there are no signers.
func (p *Policy) Verifiers(ctx context.Context, pin func(context.Context) ([]byte, error)) ([]*signing.Verifier, error) {
	if len(p.Signers) == 0 {
		return nil, &PolicyError{Field: "signers", Err: errors.New("say whose signatures are accepted: a key, or an identity and its issuer")}
	}
	var out []*signing.Verifier
	for _, s := range p.Signers {
		o := signing.VerifyOptions{
			Key: s.Key, PIN: pin, TLog: signing.TLog(s.TLog), Timestamp: s.Timestamp,
			Sigstore: signing.Deployment{TrustedRoot: p.Sigstore.TrustedRoot, TUFMirror: p.Sigstore.TUFMirror, TUFRoot: p.Sigstore.TUFRoot},
		}
		if s.Key == "" {
			o.Identities = []signing.Identity{{Subject: s.Identity, SubjectPattern: s.IdentityPattern, Issuer: s.Issuer, IssuerPattern: s.IssuerPattern}}
		}
		v, err := signing.NewVerifier(ctx, o)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}
