// Package sbomtest judges bills of materials by the schemas that were published for
// them. The go command must be there: the schemas lie in the source of modules.
package sbomtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/spdx/tools-golang/spdx/v3/v3_0"
	"github.com/stretchr/testify/require"
)

// Judge knows the schemas of all formats and versions.
type Judge struct {
	schemas map[string]*jsonschema.Schema
}

// Judge says what is wrong with a document of a format ("cyclonedx", "spdx") and
// version. SPDX 3.0 is judged by what its model requires of each class, as
// tools-golang generates it from the specification.
func (j *Judge) Judge(format, version string, dt []byte) error {
	if format == "spdx" && version == "3.0" {
		var doc v3_0.Document
		if err := json.Unmarshal(dt, &doc); err != nil {
			return err
		}
		// tools-golang has what the model itself defines without saying who made it,
		// and then misses that.
		for _, e := range []v3_0.AnyElement{v3_0.IndividualLicensingInfo_NoAssertionLicense, v3_0.IndividualLicensingInfo_NoneLicense} {
			e.SetCreationInfo(doc.CreationInfo)
		}
		return doc.Validate(false)
	}
	schema, ok := j.schemas[format+version]
	if !ok {
		return fmt.Errorf("there is no schema of %s %s", format, version)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(dt))
	if err != nil {
		return err
	}
	return schema.Validate(v)
}

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

// New compiles the schemas.
func New(t testing.TB) *Judge {
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
	return &Judge{out}
}

// Licences are the identifiers of licences that CycloneDX's schema knows, sorted.
func Licences(t testing.TB) []string {
	t.Helper()
	var list struct{ Enum []string }
	dt, err := os.ReadFile(filepath.Join(moduleDir(t, "github.com/CycloneDX/cyclonedx-go"), "schema", "spdx.schema.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(dt, &list))
	slices.Sort(list.Enum)
	return list.Enum
}
