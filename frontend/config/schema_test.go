package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "rewrite docs/temper.schema.json")

const schemaFile = "../../docs/temper.schema.json"

// schema generates the JSON Schema (2020-12) of temper.yaml from the Go types,
// their doc comments, and the table of fields.
func schema(t *testing.T) []byte {
	t.Helper()
	r := &jsonschema.Reflector{
		FieldNameTag:               "yaml",
		RequiredFromJSONSchemaTags: true,
		DoNotReference:             true,
		ExpandedStruct:             true,
	}
	if err := r.AddGoComments("github.com/temper-images/temper/frontend/config", ".", jsonschema.WithFullComment()); err != nil {
		t.Fatal(err)
	}
	s := r.Reflect(Config{})
	s.ID = "https://github.com/temper-images/temper/blob/main/docs/temper.schema.json"
	s.Title = FileName
	defaults := reflectDefaults(t)
	for _, f := range fields {
		section, name, _ := strings.Cut(f.path, ".")
		parent, ok := s.Properties.Get(section)
		if !ok {
			t.Fatalf("the types have no section %q", section)
		}
		prop, ok := parent.Properties.Get(name)
		if !ok {
			t.Fatalf("the types have no field %q", f.path)
		}
		if (prop.Type == "array") != f.list {
			t.Fatalf("%s: type %q, but list is %v", f.path, prop.Type, f.list)
		}
		enum := &prop.Enum
		if f.list {
			enum = &prop.Items.Enum
		}
		for _, a := range f.allowed {
			switch f.yaml {
			case aBool:
			case aNumber:
				*enum = append(*enum, a, json.Number(a))
			default:
				*enum = append(*enum, a)
			}
		}
		if f.yaml == aNumber && f.allowed != nil {
			prop.Type = ""
		}
		if f.form == "ref+PROVIDER://…" {
			prop.Pattern = `^ref\+`
		}
		switch f.path {
		case "scan.epss":
			prop.Minimum, prop.Maximum = "0", "1"
		case "scan.grace", "scan.maxage":
			prop.Minimum, prop.Maximum = "0", "10000"
		}
		if f.path == "harden.user" {
			prop.Type, prop.OneOf = "", []*jsonschema.Schema{
				{Type: "string", Pattern: `^(auto|keep|[1-9][0-9]*(:(0|[1-9][0-9]*))?)$`},
				{Type: "integer", Minimum: "1", Maximum: "4294967294"},
			}
		}
		switch f.path {
		case "harden.keep", "harden.remove":
			prop.Items.Pattern = "^(/|package:.|soname:.)"
		case "harden.setuid", "harden.writable":
			prop.Items.Pattern = "^/"
		}
		if f.one {
			list := *prop
			list.Description = ""
			*prop = jsonschema.Schema{Description: prop.Description, OneOf: []*jsonschema.Schema{list.Items, &list}}
		}
		if v, ok := defaults[f.path]; ok {
			prop.Default = v
		}
	}
	for _, r := range records {
		section, name, _ := strings.Cut(r.path, ".")
		parent, _ := s.Properties.Get(section)
		prop, ok := parent.Properties.Get(name)
		if !ok {
			t.Fatalf("the types have no field %q", r.path)
		}
		item := &jsonschema.Schema{Type: "object", Properties: jsonschema.NewProperties(), AdditionalProperties: jsonschema.FalseSchema}
		for _, f := range r.fields {
			p := &jsonschema.Schema{Type: "string", Description: f.form}
			if f.name == "expires" {
				p.Pattern = `^[0-9]{4}-[0-9]{2}-[0-9]{2}$`
			}
			item.Properties.Set(f.name, p)
			if f.required {
				item.Required = append(item.Required, f.name)
			}
		}
		prop.Items = item
	}
	var count int
	for section := s.Properties.Oldest(); section != nil; section = section.Next() {
		count += section.Value.Properties.Len()
	}
	if count -= len(records); count != len(fields) {
		t.Fatalf("the types have %d fields, the table %d", count, len(fields))
	}
	dt, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(dt, '\n')
}

func reflectDefaults(t *testing.T) map[string]any {
	t.Helper()
	dt, err := json.Marshal(Default())
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]map[string]any
	if err := json.Unmarshal(dt, &m); err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	for section, values := range m {
		for name, v := range values {
			out[section+"."+name] = v
		}
	}
	return out
}

func TestSchema(t *testing.T) {
	got := schema(t)
	if *update {
		if err := os.MkdirAll(filepath.Dir(schemaFile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(schemaFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/temper.schema.json is not what the types say; run go test ./frontend/config -update\n-want +got\n%s", diff)
	}
}

// TestSchemaAgrees judges the same files by the schema and by Parse.
func TestSchemaAgrees(t *testing.T) {
	doc, err := validator.UnmarshalJSON(bytes.NewReader(schema(t)))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource("temper.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("temper.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for in, valid := range map[string]bool{
		"{}": true,
		"harden: {level: exclusive, user: 1000, keep: [/a]}":            true,
		"harden: {user: '1:0', locales: [de]}":                          true,
		"harden: {user: root}":                                          false,
		"harden: {user: 0}":                                             false,
		"harden: {level: maximum}":                                      false,
		"harden: {keep: [a]}":                                           false,
		"harden: {level: minimal, preset: debug}":                       true,
		"harden: {preset: [debug, postgres]}":                           true,
		"harden: {preset: [debug, mongodb]}":                            false,
		"harden: {preset: mongodb}":                                     false,
		"harden: {preset: 3}":                                           false,
		"harden: {keep: ['package:lib*', 'soname:libz.so.1', '/a/**']}": true,
		"harden: {remove: ['package:', /a]}":                            false,
		"harden: {remove: [b]}":                                         false,
		"harden: {keep: /a}":                                            false,
		"harden: {docs: true}":                                          false,
		"harden: {other: 1}":                                            false,
		"other: 1":                                                      false,
		"scan: {gate: warn, severities: [critical], fixed: false, epss: 0.5, maxage: 3}": true,
		"scan: {fixed: 'false'}":              false,
		"scan: {epss: 2}":                     false,
		"scan: {epss: high}":                  false,
		"scan: {severities: [HIGH]}":          false,
		"scan: {maxage: -1}":                  false,
		"sbom: {cyclonedx: 1.6, spdx: '3.0'}": true,
		"sbom: {cyclonedx: 2}":                false,
		"sign: {key: cosign.key, password: 'ref+env://PW', tlog: off}":                                                true,
		"sign: {key: cosign.key, password: 'ref+env://PW', tlog: 'off'}":                                              true,
		"sign: {password: hunter2}":                                                                                   false,
		"scan: {exceptions: [{id: CVE-2026-1, reason: not reached, expires: 2026-12-31}]}":                            true,
		"scan: {exceptions: [{package: zlib1g, version: '1:*', reason: not reached, expires: '2026-12-31'}]}":         true,
		"scan: {exceptions: [{id: CVE-2026-1, reason: not reached}]}":                                                 false,
		"scan: {exceptions: [{id: CVE-2026-1, why: not reached, expires: 2026-12-31, reason: x}]}":                    false,
		"scan: {exceptions: [{id: CVE-2026-1, reason: x, expires: soon}]}":                                            false,
		"inspect: {off: [root-user], exceptions: [{rule: setuid, subject: /bin/su, reason: x, expires: 2026-12-31}]}": true,
		"licences: {deny: [AGPL-*], unknown: warn}":                                                                   true,
	} {
		var v any
		if err := yaml.Unmarshal([]byte(in), &v); err != nil {
			t.Fatal(err)
		}
		dt, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		inst, err := validator.UnmarshalJSON(bytes.NewReader(dt))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiled.Validate(inst); (err == nil) != valid {
			t.Errorf("%s: schema says %v", in, err)
		}
		if _, err := Parse(FileName, []byte(in)); (err == nil) != valid {
			t.Errorf("%s: Parse says %v", in, err)
		}
	}
}
