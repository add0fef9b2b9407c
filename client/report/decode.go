package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/finding"
	"github.com/temper-images/temper/client/gate"
	"github.com/temper-images/temper/client/inspect"
	"github.com/temper-images/temper/client/provenance"
	"github.com/temper-images/temper/hardening/spec"
)

// conventions say by its name what a document is, and how it is read. The first
// that fits holds.
var conventions = []struct {
	prefix, suffix string
	kind           artifact.Kind
	read           func(img *Image, name string, data []byte) error
}{
	{"", ".cdx.json", artifact.SBOM, (*Image).readSBOM},
	{"", ".spdx.json", artifact.SBOM, nil},
	{"", ".sarif", artifact.Scan, nil},
	{"", ".provenance.json", artifact.Attestation, nil},
	{"attestation-", "", artifact.Attestation, (*Image).readProvenance},
	{"signature-", "", artifact.Attestation, nil},
	{"gate-", "", artifact.Scan, (*Image).readGate},
	{"inspect-", "", artifact.Scan, (*Image).readInspection},
	{"scan-", "", artifact.Scan, (*Image).readScan},
	{"vuln-", "", artifact.Scan, nil},
	{"vex-", "", artifact.VEX, (*Image).readVEX},
	{"hardening-", "", artifact.Hardening, (*Image).readHardening},
	{"test", ".json", artifact.Test, (*Image).readTest},
	{"", "", artifact.Test, nil},
}

// decode reads a document into img. What is wrong is noted with the document.
func (img *Image) decode(d *Document, data []byte) {
	for _, c := range conventions {
		if !strings.HasPrefix(d.Name, c.prefix) || !strings.HasSuffix(d.Name, c.suffix) {
			continue
		}
		d.Kind = cmp.Or(d.Kind, c.kind)
		if c.read == nil {
			return
		}
		if err := c.read(img, d.Name, data); err != nil {
			d.Problem = err.Error()
		}
		return
	}
}

func (img *Image) readSBOM(_ string, data []byte) error {
	var bom cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(bytes.NewReader(data), cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
		return fmt.Errorf("it is no CycloneDX document: %w", err)
	}
	img.SBOM = &bom
	if bom.Metadata != nil {
		if t, err := time.Parse(time.RFC3339, bom.Metadata.Timestamp); err == nil {
			img.Created = t.UTC()
		}
	}
	return nil
}

// component is what the SBOM is about, or nil.
func (img *Image) component() *cyclonedx.Component {
	if img.SBOM == nil || img.SBOM.Metadata == nil {
		return nil
	}
	return img.SBOM.Metadata.Component
}

func (img *Image) readProvenance(_ string, data []byte) (err error) {
	img.Provenance, err = provenance.Read(data)
	return err
}

func (img *Image) readGate(_ string, data []byte) error {
	var g gate.Result
	if err := json.Unmarshal(data, &g); err != nil {
		return fmt.Errorf("it is no document of the vulnerability gate: %w", err)
	}
	// Every decision is about something.
	g.Decisions = slices.DeleteFunc(g.Decisions, func(d gate.Decision) bool { return d.Finding == nil && d.Reason == "" })
	for i := range g.Decisions {
		if g.Decisions[i].Finding == nil {
			g.Decisions[i].Finding = &finding.Finding{}
		}
	}
	img.Gate = &g
	return nil
}

func (img *Image) readInspection(_ string, data []byte) (err error) {
	img.Inspection, err = inspect.Read(bytes.NewReader(data))
	return err
}

func (img *Image) readHardening(_ string, data []byte) (err error) {
	img.Hardening, err = spec.ReadReport(bytes.NewReader(data))
	return err
}

// readScan reads what Grype writes with --output json (grype/presenter/models).
func (img *Image) readScan(_ string, data []byte) error {
	type match struct {
		Vulnerability struct {
			ID         string `json:"id"`
			DataSource string `json:"dataSource"`
			Severity   string `json:"severity"`
			Fix        struct {
				Versions []string `json:"versions"`
				State    string   `json:"state"`
			} `json:"fix"`
			EPSS []struct {
				EPSS       float64 `json:"epss"`
				Percentile float64 `json:"percentile"`
			} `json:"epss"`
			KnownExploited []struct {
				DateAdded string `json:"dateAdded"`
			} `json:"knownExploited"`
			Risk float64 `json:"risk"`
		} `json:"vulnerability"`
		Artifact struct {
			Name    string `json:"name"`
			Version string `json:"version"`
			Type    string `json:"type"`
			PURL    string `json:"purl"`
		} `json:"artifact"`
	}
	var doc struct {
		Matches *[]match `json:"matches"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("it is no document of Grype: %w", err)
	}
	if doc.Matches == nil {
		return errors.New("it is no document of Grype: it has no matches")
	}
	img.Scanned = true
	for _, m := range *doc.Matches {
		v := m.Vulnerability
		f := &finding.Finding{
			ID: v.ID, Source: v.DataSource, Risk: v.Risk, Fix: finding.Fix{State: v.Fix.State, Versions: v.Fix.Versions},
			Package: finding.Package{Name: m.Artifact.Name, Version: m.Artifact.Version, Type: m.Artifact.Type, PURL: m.Artifact.PURL},
		}
		// A word that is not known stays unknown.
		f.Severity, _ = finding.ParseSeverity(v.Severity)
		if len(v.EPSS) > 0 {
			f.EPSS = &finding.EPSS{Probability: v.EPSS[0].EPSS, Percentile: v.EPSS[0].Percentile}
		}
		if len(v.KnownExploited) > 0 {
			f.Exploited = &finding.Exploited{Added: v.KnownExploited[0].DateAdded}
		}
		img.Findings = append(img.Findings, f)
	}
	return nil
}

// readVEX reads OpenVEX; other forms are listed as documents only.
func (img *Image) readVEX(name string, data []byte) error {
	type product struct {
		ID            string            `json:"@id"`
		Identifiers   map[string]string `json:"identifiers"`
		Subcomponents []struct {
			ID string `json:"@id"`
		} `json:"subcomponents"`
	}
	var doc struct {
		Context    string `json:"@context"`
		Author     string `json:"author"`
		Statements []struct {
			Vulnerability struct {
				Name string `json:"name"`
			} `json:"vulnerability"`
			Products      []product `json:"products"`
			Status        string    `json:"status"`
			Justification string    `json:"justification"`
			Impact        string    `json:"impact_statement"`
		} `json:"statements"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("it is no VEX document: %w", err)
	}
	if !strings.Contains(doc.Context, "openvex") {
		return nil
	}
	out := VEX{File: name, Author: doc.Author}
	for _, s := range doc.Statements {
		st := Statement{Vulnerability: s.Vulnerability.Name, Status: s.Status, Justification: s.Justification, Impact: s.Impact}
		for _, p := range s.Products {
			if len(p.Subcomponents) == 0 {
				st.Products = append(st.Products, p.ID)
			}
			for _, c := range p.Subcomponents {
				st.Products = append(st.Products, c.ID)
			}
		}
		out.Statements = append(out.Statements, st)
	}
	img.VEX = append(img.VEX, out)
	return nil
}

// readTest reads a test result, as a predicate or in a statement.
func (img *Image) readTest(name string, data []byte) error {
	type predicate struct {
		Result string   `json:"result"`
		URL    string   `json:"url"`
		Passed []string `json:"passedTests"`
		Warned []string `json:"warnedTests"`
		Failed []string `json:"failedTests"`
	}
	var doc struct {
		predicate
		Predicate predicate `json:"predicate"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("it is no test result: %w", err)
	}
	p := doc.predicate
	if p.Result == "" {
		p = doc.Predicate
	}
	img.Tests = append(img.Tests, Test{File: name, Result: p.Result, URL: p.URL, Passed: p.Passed, Warned: p.Warned, Failed: p.Failed})
	return nil
}
