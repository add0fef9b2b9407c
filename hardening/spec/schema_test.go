package spec

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The published schema of the report is what the Go types say, with their
// comments as descriptions.
func TestReportSchemaIsPublished(t *testing.T) {
	r := jsonschema.Reflector{AllowAdditionalProperties: true}
	if err := r.AddGoComments("github.com/temper-images/temper/hardening/spec", "."); err != nil {
		t.Fatal(err)
	}
	schema := r.Reflect(&Report{})
	schema.ID = jsonschema.ID(PredicateType)
	schema.Title = "Temper hardening report"
	got, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	name := filepath.Join("..", "..", "docs", "hardening-report.schema.json")
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is out of date (-want +got), run with -update:\n%s", name, diff)
	}
}

// A report validates against the published schema, and one that lacks what the
// schema demands does not.
func TestReportMatchesSchema(t *testing.T) {
	schema := compileSchema(t)
	r := &Report{
		Level: LevelExclusive, Family: "debian", Removed: []Group{{Class: "cache", Name: "/var/cache"}},
		Packages: []Package{{Type: "deb", Name: "libc6", Version: "1", State: PackageKept}},
		Changed:  []Change{{Path: "/run", What: ChangeOwner}}, Checks: []Check{{Name: CheckLinks}},
	}
	dt, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(t, schema, string(dt)); err != nil {
		t.Errorf("a report does not match its schema: %v", err)
	}
	if err := validate(t, schema, `{"level": 3}`); err == nil {
		t.Error("a report with a number as level matches the schema")
	}
}

func compileSchema(t *testing.T) *validator.Schema {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "docs", "hardening-report.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	doc, err := validator.UnmarshalJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource("report.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("report.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func validate(t *testing.T, schema *validator.Schema, text string) error {
	t.Helper()
	doc, err := validator.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(doc)
}
