package verify_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/verify"
)

const schemaFile = "../../docs/verify-policy.schema.json"

// schema is the JSON Schema (2020-12) of a policy file, out of the Go types and their
// doc comments.
func schema(t *testing.T) []byte {
	t.Helper()
	r := &jsonschema.Reflector{FieldNameTag: "yaml", RequiredFromJSONSchemaTags: true, DoNotReference: true, ExpandedStruct: true}
	require.NoError(t, r.AddGoComments("github.com/temper-images/temper/client/verify", ".", jsonschema.WithFullComment()))
	s := r.Reflect(verify.Policy{})
	s.ID = "https://github.com/temper-images/temper/blob/main/docs/verify-policy.schema.json"
	s.Title = "Verification policy"
	field := func(path ...string) *jsonschema.Schema {
		at := s
		for _, name := range path {
			if at.Type == "array" {
				at = at.Items
			}
			next, ok := at.Properties.Get(name)
			require.True(t, ok, "%v", path)
			at = next
		}
		return at
	}
	for _, k := range verify.Kinds {
		field("require").Items.Enum = append(field("require").Items.Enum, k)
	}
	field("sbom", "formats").Items.Enum = []any{verify.FormatCycloneDX, verify.FormatSPDX}
	field("gate", "accept").Enum = []any{verify.AcceptWarn, verify.AcceptPass}
	field("signers", "tlog").Enum = []any{"on", "off"}
	field("scan", "maxAge").Pattern = `^[0-9]+d$|^([0-9]+(\.[0-9]+)?(h|m|s))+$`
	field("provenance", "commit").Pattern = `^([0-9a-f]{40}|[0-9a-f]{64})$`
	field("provenance", "builders").Items.Required = []string{"id"}
	dt, err := json.MarshalIndent(s, "", "  ")
	require.NoError(t, err)
	return append(dt, '\n')
}

func TestSchema(t *testing.T) {
	got := schema(t)
	if *update {
		require.NoError(t, os.WriteFile(schemaFile, got, 0o644))
	}
	want, err := os.ReadFile(schemaFile)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "docs/verify-policy.schema.json is not what the types say; run go test ./client/verify -update")
}

// TestSchemaAgrees judges the same files by the schema and by ParsePolicy.
func TestSchemaAgrees(t *testing.T) {
	doc, err := validator.UnmarshalJSON(bytes.NewReader(schema(t)))
	require.NoError(t, err)
	c := validator.NewCompiler()
	require.NoError(t, c.AddResource("policy.json", doc))
	compiled, err := c.Compile("policy.json")
	require.NoError(t, err)
	for text, valid := range map[string]bool{
		full: true, "{}": true, "require: [gate]": true, "scan: {maxAge: 12h}": true,
		"requires: [gate]": false, "require: [soup]": false, "require: gate": false, "scan: {maxAge: soon}": false, "sbom: {formats: [xml]}": false,
		"gate: {accept: fail}": false, "signers: [{key: a, tlog: perhaps}]": false, "signers: [{password: a}]": false,
		"provenance: {level: 4}": false, "provenance: {level: high}": false, "provenance: {commit: 0123abc}": false, "provenance: {builders: [{level: 1}]}": false,
	} {
		_, perr := verify.ParsePolicy("policy.yaml", []byte(text))
		require.Equal(t, valid, perr == nil, "%s: %v", text, perr)
		var v any
		require.NoError(t, yaml.Unmarshal([]byte(text), &v))
		dt, err := json.Marshal(v)
		require.NoError(t, err)
		inst, err := validator.UnmarshalJSON(bytes.NewReader(dt))
		require.NoError(t, err)
		serr := compiled.Validate(inst)
		require.Equal(t, valid, serr == nil, "%s: %v", text, serr)
	}
}
