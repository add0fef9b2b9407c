package scan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	grypejson "github.com/anchore/grype/grype/presenter/json"
	"github.com/anchore/grype/grype/presenter/models"
	"github.com/anchore/grype/grype/presenter/sarif"
	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/client/artifact"
)

// PredicateType is the in-toto predicate type of Cosign's vulnerability
// attestations (sigstore/cosign, specs/COSIGN_VULN_ATTESTATION_SPEC.md).
const PredicateType = "https://cosign.sigstore.dev/attestation/vuln/v1"

// The formats of a result.
const (
	FormatJSON   = "json"
	FormatSARIF  = "sarif"
	FormatCosign = "cosign-vuln"
	FormatTable  = "table"
)

// Formats are all formats.
var Formats = []string{FormatJSON, FormatSARIF, FormatCosign, FormatTable}

// Artifacts are the result as documents of evidence: Grype's JSON, SARIF 2.1.0 and
// Cosign's vulnerability predicate. Name and arch become part of their names.
// Equal catalogues, databases and times give equal bytes.
func (r *Result) Artifacts(name, arch, platform string) ([]artifact.Artifact, error) {
	var grypeJSON, predicate, report []byte
	var group errgroup.Group
	group.Go(func() (err error) {
		if grypeJSON, err = r.grype(); err == nil {
			predicate, err = r.predicate(grypeJSON)
		}
		return err
	})
	group.Go(func() (err error) {
		report, err = r.sarif()
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return []artifact.Artifact{
		{Kind: artifact.Scan, Name: fmt.Sprintf("scan-%s-%s.json", name, arch), MediaType: artifact.TypeJSON, Platform: platform, Data: grypeJSON},
		{Kind: artifact.Scan, Name: fmt.Sprintf("scan-%s-%s.sarif", name, arch), MediaType: artifact.TypeSARIF, Platform: platform, Data: report},
		{
			Kind: artifact.Scan, Name: fmt.Sprintf("vuln-%s-%s.json", name, arch), MediaType: artifact.TypeJSON, PredicateType: PredicateType,
			Platform: platform, Data: predicate,
		},
	}, nil
}

// Format is the result in one of Formats.
func (r *Result) Format(format string) ([]byte, error) {
	switch format {
	case FormatJSON:
		return r.grype()
	case FormatSARIF:
		return r.sarif()
	case FormatCosign:
		dt, err := r.grype()
		if err != nil {
			return nil, err
		}
		return r.predicate(dt)
	case FormatTable:
		var b bytes.Buffer
		err := r.Table(&b)
		return b.Bytes(), err
	}
	return nil, fmt.Errorf("the format %q is none of %v", format, Formats)
}

func (r *Result) grype() ([]byte, error) {
	var b bytes.Buffer
	if err := grypejson.NewPresenter(models.PresenterConfig{Document: r.document, Pretty: true}).Present(&b); err != nil {
		return nil, fmt.Errorf("encode what was found: %w", err)
	}
	return b.Bytes(), nil
}

func (r *Result) sarif() ([]byte, error) {
	var b bytes.Buffer
	if err := sarif.NewPresenter(models.PresenterConfig{ID: identification(), Document: r.document, SBOM: r.sbom}).Present(&b); err != nil {
		return nil, fmt.Errorf("encode SARIF: %w", err)
	}
	return append(bytes.TrimRight(b.Bytes(), "\n"), '\n'), nil
}

// predicate wraps Grype's document as Cosign's specification has it.
func (r *Result) predicate(grypeJSON []byte) ([]byte, error) {
	type object = map[string]any
	at := r.time.Format(time.RFC3339)
	dt, err := json.Marshal(object{
		"invocation": object{"parameters": nil, "uri": "", "event_id": "", "builder.id": ""},
		"scanner": object{
			"uri": "pkg:golang/github.com/anchore/grype@" + grypeVersion, "version": grypeVersion,
			"db":     object{"uri": "pkg:generic/grype-db?checksum=" + r.Database.Archive, "version": r.Database.version()},
			"result": json.RawMessage(grypeJSON),
		},
		"metadata": object{"scanStartedOn": at, "scanFinishedOn": at},
	})
	if err != nil {
		return nil, fmt.Errorf("encode the vulnerability predicate: %w", err)
	}
	return append(dt, '\n'), nil
}

// version is the schema and the time of a database, as Trivy's predicates have it:
// "v6.1.10-20260504030201".
func (d Database) version() string {
	return "v" + d.Schema + "-" + d.Built.UTC().Format("20060102150405")
}
