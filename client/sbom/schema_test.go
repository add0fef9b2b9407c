package sbom

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

// moduleDir is where the source of a module of the build lies; the published
// schemas are there.
func moduleDir(t testing.TB, module string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

func readJSON(t testing.TB, file string) any {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	v, err := jsonschema.UnmarshalJSON(f)
	require.NoError(t, err)
	return v
}

// schemas compiles the schemas of all documents but SPDX 3.0.
func schemas(t testing.TB) map[string]*jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	dir := filepath.Join(moduleDir(t, "github.com/CycloneDX/cyclonedx-go"), "schema")
	const at = "http://cyclonedx.org/schema/"
	files := map[string]string{"spdx.schema.json": "spdx.schema.json", "jsf-0.82.schema.json": "jsf-0.82.schemax.json"}
	for _, v := range []string{"1.4", "1.5", "1.6", "1.7"} {
		files["bom-"+v+".schema.json"] = "bom-" + v + ".schema.json"
	}
	// 1.7 refers to a list of algorithms that only concerns bills of cryptography.
	require.NoError(t, c.AddResource(at+"cryptography-defs.schema.json", map[string]any{
		"definitions": map[string]any{"algorithmFamiliesEnum": map[string]any{"type": "string"}, "ellipticCurvesEnum": map[string]any{"type": "string"}},
	}))
	for name, file := range files {
		require.NoError(t, c.AddResource(at+name, readJSON(t, filepath.Join(dir, file))))
	}
	const spdx = "http://spdx.org/rdf/terms/2.3"
	require.NoError(t, c.AddResource(spdx, readJSON(t, filepath.Join(moduleDir(t, "github.com/anchore/syft"), "schema", "spdx-json", "spdx-schema-2.3.json"))))
	out := map[string]*jsonschema.Schema{}
	for key, url := range map[string]string{
		"cyclonedx1.4": at + "bom-1.4.schema.json", "cyclonedx1.5": at + "bom-1.5.schema.json", "cyclonedx1.6": at + "bom-1.6.schema.json", "cyclonedx1.7": at + "bom-1.7.schema.json",
		"spdx2.3": spdx,
	} {
		s, err := c.Compile(url)
		require.NoError(t, err)
		out[key] = s
	}
	return out
}

func TestSchemas(t *testing.T) {
	compiled := schemas(t)
	s := catalogued(t)
	for name, f := range map[string]Facts{"all facts": known(t), "no facts": {Subject: Subject{Name: "app", Digest: digest.FromString("app")}}} {
		for _, d := range documents {
			schema, ok := compiled[d.format+d.version]
			if !ok {
				require.Equal(t, "3.0", d.version)
				continue // TestSPDX3IsValid
			}
			v, err := jsonschema.UnmarshalJSON(bytes.NewReader(write(t, s, f, d.format, d.version)))
			require.NoError(t, err)
			require.NoError(t, schema.Validate(v), "%s, %v", name, d)
			// The schema is really asked.
			delete(v.(map[string]any), map[string]string{FormatCycloneDX: "bomFormat", FormatSPDX: "SPDXID"}[d.format])
			require.Error(t, schema.Validate(v))
		}
	}
}
