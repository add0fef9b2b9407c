package config

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// MaxSize bounds the file, in bytes.
const MaxSize = 1 << 20

// Bounds on what the YAML parser, which recurses, is given. The file itself is
// three levels deep. The parser looks for a key in all those before it, so their
// number is bounded too.
const (
	maxDepth  = 16
	maxIndent = 64
	maxKeys   = 256
	maxErrors = 20
)

// Parse reads a whole temper.yaml over the defaults. The name is what errors
// call the file.
func Parse(name string, dt []byte) (Config, error) {
	c := Default()
	if err := c.Read(name, dt); err != nil {
		return Config{}, err
	}
	return c, nil
}

// Read sets the fields that a temper.yaml (YAML 1.2, one document, without
// anchors, aliases and tags) names, and leaves the others. It reports everything
// wrong at once, as joined *Error values, and then changes nothing.
func (c *Config) Read(name string, dt []byte) error {
	r := reader{file: name, out: *c}
	r.read(dt)
	if len(r.errs) > 0 {
		return errors.Join(r.errs...)
	}
	*c = r.out
	return nil
}

// Locate finds where a temper.yaml gives a field, or an item of it, a value, for
// errors that only the build itself finds. Line and column count from 1.
func Locate(dt []byte, field, value string) (line, column int, found bool) {
	r := reader{out: Default(), place: func(at string, v string, tk *token.Token) {
		if !found && at == field && v == value && tk.Position != nil {
			line, column, found = max(tk.Position.Line, 1), max(tk.Position.Column, 1), true
		}
	}}
	r.read(dt)
	return line, column, found
}

type reader struct {
	file string
	out  Config
	errs []error
	// place, when not nil, is called with each value and its place.
	place func(field, value string, tk *token.Token)
}

// found tells the place of a good value.
func (r *reader) found(f field, value string, n ast.Node) {
	if r.place != nil {
		r.place(f.path, value, n.GetToken())
	}
}

func (r *reader) fail(tk *token.Token, field string, e *Error) {
	if len(r.errs) >= maxErrors {
		return
	}
	e.File, e.Field = r.file, field
	if tk != nil && tk.Position != nil {
		e.Line, e.Column = max(tk.Position.Line, 1), max(tk.Position.Column, 1)
	}
	r.errs = append(r.errs, e)
}

func (r *reader) read(dt []byte) {
	if len(dt) > MaxSize {
		r.fail(nil, "", &Error{Msg: fmt.Sprintf("has %d bytes, which is more than the %d allowed", len(dt), MaxSize)})
		return
	}
	if !utf8.Valid(dt) {
		r.fail(nil, "", &Error{Msg: "is not UTF-8 text"})
		return
	}
	tokens := lexer.Tokenize(string(dt))
	if !r.plain(tokens) {
		return
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		r.syntax(err)
		return
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			r.fail(doc.Body.GetToken(), "", &Error{Msg: "a second YAML document begins here; the file must hold one"})
			return
		}
		body = doc.Body
	}
	if body != nil {
		r.section("", body)
	}
}

// syntax reports what the YAML parser found wrong.
func (r *reader) syntax(err error) {
	var located yaml.Error
	if errors.As(err, &located) {
		r.fail(located.GetToken(), "", &Error{Msg: "is not valid YAML: " + located.GetMessage()})
		return
	}
	r.fail(nil, "", &Error{Msg: "is not valid YAML: " + err.Error()})
}

// plain refuses, before anything recurses, what the file never needs and what
// could be used to exhaust memory.
func (r *reader) plain(tokens token.Tokens) bool {
	flow, keys := 0, 0
	for _, tk := range tokens {
		refused := ""
		switch tk.Type {
		case token.AnchorType, token.AliasType:
			refused = "anchors and aliases are not accepted; write the value out"
		case token.MergeKeyType:
			refused = "merge keys are not accepted; write the values out"
		case token.TagType:
			refused = "tags are not accepted"
		case token.DirectiveType:
			refused = "directives are not accepted"
		case token.MappingKeyType:
			refused = "explicit keys (\"?\") are not accepted; write key: value"
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingValueType:
			at := tk
			if tk.Type == token.MappingValueType {
				if keys++; keys > maxKeys {
					refused = "has too many keys"
				}
				if tk.Prev != nil {
					at = tk.Prev
				}
			}
			if flow == 0 && at.Position.Column > maxIndent {
				refused = "is nested or indented too deeply"
			}
		}
		if flow > maxDepth {
			refused = "is nested too deeply"
		}
		if refused != "" {
			r.fail(tk, "", &Error{Msg: refused})
			return false
		}
	}
	return true
}

// section reads a mapping of fields or of further sections.
func (r *reader) section(name string, n ast.Node) {
	var pairs []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	case *ast.NullNode:
		return
	default:
		r.fail(n.GetToken(), name, &Error{Msg: "must be a mapping, not " + kind(n), Allowed: names(name)})
		return
	}
	seen := make(map[string]bool, len(pairs))
	for _, pair := range pairs {
		key, ok := scalar(pair.Key)
		if !ok {
			r.fail(pair.Key.GetToken(), name, &Error{Msg: "a field's name must be a string", Allowed: names(name)})
			continue
		}
		full := key
		if name != "" {
			full = name + "." + key
		}
		if seen[key] {
			r.fail(pair.Key.GetToken(), full, &Error{Msg: "stands here a second time"})
			continue
		}
		seen[key] = true
		if f, ok := lookup(full); ok {
			r.field(f, pair.Value)
			continue
		}
		if rec, ok := lookupRecord(full); ok {
			r.records(rec, pair.Value)
			continue
		}
		if !isSection(full) {
			e := unknown(key, names(name))
			e.Msg = "field " + e.Msg
			r.fail(pair.Key.GetToken(), name, e)
			continue
		}
		r.section(full, pair.Value)
	}
}

func isSection(name string) bool {
	for _, s := range sections {
		if s == name {
			return true
		}
	}
	return false
}

// field reads the value of one field.
func (r *reader) field(f field, n ast.Node) {
	if !f.list {
		v, ok := f.scalar(n)
		if !ok {
			r.fail(n.GetToken(), f.path, wrongKind(f, f.yaml.String(), n))
			return
		}
		if e := f.judge(v); e != nil {
			r.fail(n.GetToken(), f.path, e)
			return
		}
		r.found(f, v, n)
		f.set(&r.out, []string{v})
		return
	}
	var items []ast.Node
	if _, ok := scalar(n); ok && f.one {
		items = []ast.Node{n}
	}
	switch n := n.(type) {
	case *ast.SequenceNode:
		items = n.Values
	case *ast.NullNode:
	default:
		if items == nil {
			r.fail(n.GetToken(), f.path, wrongKind(f, f.listForm(), n))
			return
		}
	}
	values := make([]string, 0, len(items))
	for i, item := range items {
		at := fmt.Sprintf("%s[%d]", f.path, i)
		v, ok := scalar(item)
		if !ok {
			r.fail(item.GetToken(), at, wrongKind(f, "a string", item))
			continue
		}
		if e := f.judge(v); e != nil {
			r.fail(item.GetToken(), at, e)
			continue
		}
		r.found(f, v, item)
		values = append(values, v)
	}
	f.set(&r.out, values)
}

func (f field) listForm() string {
	if f.one {
		return "a string or a list of strings"
	}
	return "a list of strings"
}

func wrongKind(f field, want string, n ast.Node) *Error {
	e := &Error{Msg: fmt.Sprintf("must be %s, not %s", want, kind(n)), Allowed: f.allowed}
	if f.allowed == nil {
		e.Allowed = []string{f.form}
	}
	return e
}

// scalar returns the text of a string, or of a whole number as it was written
// (a user number needs no quotes).
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode:
		return n.Token.Value, true
	}
	return "", false
}

// scalar returns the text of a value that the field may have.
func (f field) scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.BoolNode:
		return n.Token.Value, f.yaml == aBool
	case *ast.FloatNode:
		return n.Token.Value, f.yaml == aNumber
	case *ast.IntegerNode:
		return n.Token.Value, f.yaml != aBool
	}
	v, ok := scalar(n)
	return v, ok && (f.yaml == aString || f.yaml == aNumber && f.allowed != nil)
}

func (k kindOf) String() string {
	switch k {
	case aBool:
		return "true or false"
	case aNumber:
		return "a number"
	}
	return "a string"
}

// kind names what stands where something else was wanted.
func kind(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.BoolNode:
		return "true or false"
	case *ast.NullNode:
		return "nothing"
	case *ast.StringNode, *ast.LiteralNode:
		return "a string"
	}
	return "a number"
}
