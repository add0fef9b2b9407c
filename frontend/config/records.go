package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// maxRecords bounds the records of one list.
const maxRecords = 1000

// record is a list of mappings of strings. No build argument overrides one: what
// lets something through must stand in a file that is reviewed.
type record struct {
	path string
	// fields are the records' fields; their paths are names only.
	fields []recordField
	// check judges a whole record: "" or what is wrong with it.
	check func(map[string]string) string
	set   func(*Config, []map[string]string)
}

type recordField struct {
	name     string
	required bool
	// secret says that errors do not repeat the value.
	secret bool
	check  func(string) string
	form   string
}

func (r record) names() []string {
	var out []string
	for _, f := range r.fields {
		out = append(out, f.name)
	}
	return out
}

var records = []record{
	exceptions("scan.exceptions", "id", "a vulnerability's identifier", func(c *Config) *[]Exception { return &c.Scan.Exceptions }),
	exceptions("inspect.exceptions", "rule", "a rule's name or glob", func(c *Config) *[]Exception { return &c.Inspect.Exceptions }),
	exceptions("licences.exceptions", "licence", "an SPDX identifier or glob", func(c *Config) *[]Exception { return &c.Licences.Exceptions }),
	{
		path: "push.logins",
		fields: []recordField{
			{name: "registry", required: true, check: checkWord, form: "a registry's host, or the beginning of a repository's name"},
			{name: "username", check: checkText, form: "a user's name or ref+PROVIDER://…"},
			{name: "password", secret: true, check: checkSecret, form: "ref+PROVIDER://…"},
			{name: "token", secret: true, check: checkSecret, form: "ref+PROVIDER://…"},
		},
		check: func(m map[string]string) string {
			if pair := m["username"] != "" && m["password"] != ""; pair == (m["token"] != "") || !pair && m["username"]+m["password"] != "" {
				return "has to have either username and password, or token"
			}
			return ""
		},
		set: func(c *Config, list []map[string]string) {
			c.Push.Logins = nil
			for _, m := range list {
				c.Push.Logins = append(c.Push.Logins, Login{Registry: m["registry"], Username: m["username"], Password: m["password"], Token: m["token"]})
			}
		},
	},
}

// exceptions is a list of exceptions from a gate. The key names what the gate
// found.
func exceptions(path, key, form string, at func(*Config) *[]Exception) record {
	match, check := "package", checkText
	switch path {
	case "inspect.exceptions":
		match = "subject"
	case "scan.exceptions":
		// Vulnerabilities have names; what lets several through says so.
		check = checkWord
	}
	r := record{
		path: path,
		fields: []recordField{
			{name: key, check: check, form: form},
			{name: match, check: checkText, form: "a name or glob"},
			{name: "reason", required: true, check: checkText, form: "a sentence"},
			{name: "expires", required: true, check: checkDate, form: "a date, YYYY-MM-DD"},
		},
		check: func(m map[string]string) string {
			if m[key] == "" && m[match] == "" {
				return fmt.Sprintf("names nothing: give %s or %s, or both", key, match)
			}
			return ""
		},
		set: func(c *Config, list []map[string]string) {
			var out []Exception
			for _, m := range list {
				out = append(out, Exception{ID: m[key], Match: m[match], Version: m["version"], Reason: m["reason"], Expires: m["expires"]})
			}
			*at(c) = out
		},
	}
	if match == "package" {
		r.fields = slices.Insert(r.fields, 2, recordField{name: "version", check: checkText, form: "a version or glob"})
	}
	return r
}

func lookupRecord(name string) (record, bool) {
	i := slices.IndexFunc(records, func(r record) bool { return r.path == name })
	if i < 0 {
		return record{}, false
	}
	return records[i], true
}

// records reads a list of mappings.
func (r *reader) records(rec record, n ast.Node) {
	var items []ast.Node
	switch n := n.(type) {
	case *ast.SequenceNode:
		items = n.Values
	case *ast.NullNode:
	default:
		r.fail(n.GetToken(), rec.path, &Error{Msg: "must be a list of mappings, not " + kind(n)})
		return
	}
	if len(items) > maxRecords {
		r.fail(n.GetToken(), rec.path, &Error{Msg: fmt.Sprintf("has more than %d entries", maxRecords)})
		return
	}
	var out []map[string]string
	before := len(r.errs)
	for i, item := range items {
		out = append(out, r.record(rec, fmt.Sprintf("%s[%d]", rec.path, i), item))
	}
	if len(r.errs) == before {
		rec.set(&r.out, out)
	}
}

func (r *reader) record(rec record, at string, n ast.Node) map[string]string {
	var pairs []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	default:
		r.fail(n.GetToken(), at, &Error{Msg: "must be a mapping, not " + kind(n), Allowed: rec.names()})
		return nil
	}
	out := map[string]string{}
	before := len(r.errs)
	for _, pair := range pairs {
		key, ok := scalar(pair.Key)
		i := slices.IndexFunc(rec.fields, func(f recordField) bool { return f.name == key })
		if !ok || i < 0 {
			e := unknown(key, rec.names())
			e.Msg = "field " + e.Msg
			r.fail(pair.Key.GetToken(), at, e)
			continue
		}
		if _, twice := out[key]; twice {
			r.fail(pair.Key.GetToken(), at+"."+key, &Error{Msg: "stands here a second time"})
			continue
		}
		f := rec.fields[i]
		v, ok := scalar(pair.Value)
		if !ok {
			r.fail(pair.Value.GetToken(), at+"."+key, &Error{Msg: "must be a string, not " + kind(pair.Value), Allowed: []string{f.form}})
			continue
		}
		if msg := f.check(v); msg != "" {
			shown := quote(v)
			if f.secret {
				shown = "the value"
			}
			r.fail(pair.Value.GetToken(), at+"."+key, &Error{Msg: fmt.Sprintf("%s %s; allowed: %s", shown, msg, f.form)})
			continue
		}
		out[key] = v
	}
	if len(r.errs) > before {
		return out
	}
	var missing []string
	for _, f := range rec.fields {
		if f.required && out[f.name] == "" {
			missing = append(missing, f.name+" ("+f.form+")")
		}
	}
	if len(missing) > 0 {
		r.fail(n.GetToken(), at, &Error{Msg: "has no " + strings.Join(missing, " and no ")})
	} else if msg := rec.check(out); msg != "" {
		r.fail(n.GetToken(), at, &Error{Msg: msg})
	}
	return out
}
