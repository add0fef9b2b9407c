package inspect

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/temper-images/temper/client/artifact"
)

// PredicateType is the in-toto predicate type of a Document.
const PredicateType = "https://github.com/temper-images/temper/inspection/v1"

// Bounds of a document. What is above them is counted and not listed.
const (
	maxFindings = 5_000
	maxLicences = 1_000
	maxDocument = 64 << 20
)

// Severity says how bad a finding is.
type Severity string

// The severities.
const (
	Critical Severity = "critical"
	High     Severity = "high"
	Medium   Severity = "medium"
	Low      Severity = "low"
)

// Kind says what a finding is about.
type Kind string

// The kinds of subjects.
const (
	// ConfigField is a field of the image's configuration: "User".
	ConfigField Kind = "config"
	Environment Kind = "env"
	Label       Kind = "label"
	// History is an entry of the configuration's history; its name is the number
	// of the entry, from 1.
	History Kind = "history"
	Port    Kind = "port"
	Volume  Kind = "volume"
	// File is a path in the image. With a layer, it is a file that only that layer
	// still has.
	File    Kind = "file"
	Account Kind = "account"
	Package Kind = "package"
)

// Subject is what a finding is about.
type Subject struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name"`
	// Line is the line of a text file, from 1.
	Line int `json:"line,omitempty"`
	// Layer is the diff ID of the layer that a removed or replaced file is in.
	Layer string `json:"layer,omitempty"`
	// Version is a package's version.
	Version string `json:"version,omitempty"`
}

// Finding is something in the image that a rule is against. It never holds a
// secret's value.
type Finding struct {
	// Rule is the rule's ID, see Rules.
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	// Action is what became of it: Fail, Warn, or Excepted.
	Action  Action  `json:"action"`
	Subject Subject `json:"subject"`
	// Detail is what kind of secret it is, in gitleaks' words, or which licence.
	Detail string `json:"detail,omitempty"`
	// Message says what was found.
	Message string `json:"message"`
	// Remedy is the way out.
	Remedy string `json:"remedy"`
	// Fingerprint is the same for the same secret within an image. It is too short
	// to tell what the secret is.
	Fingerprint string `json:"fingerprint,omitempty"`
	// Reason is that of the exception which lets the finding through.
	Reason string `json:"reason,omitempty"`
}

// RuleState is a rule and what it came to.
type RuleState struct {
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	Action   Action   `json:"action"`
	// Title says what the rule is against.
	Title string `json:"title"`
	// Findings counts all, also those that Document.Findings has no room for.
	Findings int `json:"findings"`
	// Excepted counts those that an exception lets through.
	Excepted int `json:"excepted,omitempty"`
}

// The states of an exception.
const (
	ExceptionUsed    = "used"
	ExceptionUnused  = "unused"
	ExceptionExpired = "expired"
)

// ExceptionState is an exception and what it did.
type ExceptionState struct {
	Exception
	// State is one of the Exception constants.
	State string `json:"state"`
	// Findings counts what it let through.
	Findings int `json:"findings,omitempty"`
}

// Licence is a licence and how many packages have it.
type Licence struct {
	// Name is an SPDX expression, or what the package says when that is none.
	Name string `json:"name"`
	// SPDX says that Name is an SPDX expression.
	SPDX     bool `json:"spdx"`
	Packages int  `json:"packages"`
}

// Licences counts the packages' licences. It is absent when no catalogue was
// there.
type Licences struct {
	Packages int `json:"packages"`
	// Unknown counts the packages that state no licence.
	Unknown int `json:"unknown"`
	// Licences are sorted by packages, the most first.
	Licences []Licence `json:"licences,omitempty"`
	// More counts the licences that the list has no room for.
	More int `json:"more,omitempty"`
}

// Examined counts what was looked at.
type Examined struct {
	// Entries counts the entries of the file system.
	Entries int `json:"entries"`
	// Texts and Bytes count what was searched for secrets, removed files included.
	Texts int   `json:"texts"`
	Bytes int64 `json:"bytes"`
	// Binaries counts the files that are no texts and whose strings were searched.
	Binaries int `json:"binaries"`
	// Skipped counts what was not searched: programs of the distribution, binaries
	// that are larger than maxBinary, and what gitleaks ignores by its name.
	Skipped int `json:"skipped"`
	// Packaged counts the texts that were not searched since they are as a package
	// of the distribution brought them.
	Packaged int `json:"packaged"`
	// Truncated counts the texts that were searched in part, since they are larger
	// than maxText.
	Truncated int `json:"truncated,omitempty"`
	// Removed counts the files of lower layers that are not in the file system.
	Removed int `json:"removed"`
}

// Image names the image that a document is about.
type Image struct {
	Name      string `json:"name"`
	Reference string `json:"reference,omitempty"`
	Digest    string `json:"digest"`
	Platform  string `json:"platform"`
}

// The outcomes.
const (
	Passed  = "passed"
	Warned  = "warned"
	Refused = "refused"
)

// Document is the result of an inspection. It holds no clock but the day that the
// caller named: equal inputs give equal documents.
type Document struct {
	// Schema is PredicateType.
	Schema string `json:"schema"`
	Image  Image  `json:"image"`
	// Date is the day, UTC, on which exceptions were judged, YYYY-MM-DD.
	Date string `json:"date"`
	// Outcome is "passed", "warned" or "refused".
	Outcome string `json:"outcome"`
	// Rules are all rules, sorted by ID.
	Rules []RuleState `json:"rules"`
	// Findings are sorted by what became of them, severity, rule and subject.
	Findings []Finding `json:"findings"`
	// More counts the findings that the list has no room for.
	More       int              `json:"more,omitempty"`
	Exceptions []ExceptionState `json:"exceptions,omitempty"`
	Licences   *Licences        `json:"licences,omitempty"`
	Examined   Examined         `json:"examined"`
}

// Marshal encodes the document with a final newline.
func (d *Document) Marshal() ([]byte, error) {
	dt, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the inspection of %s: %w", d.Image.Name, err)
	}
	return append(dt, '\n'), nil
}

// Read decodes a document, of at most 64 MiB. Fields that it does not know are
// ignored.
func Read(rd io.Reader) (*Document, error) {
	var d Document
	if err := json.NewDecoder(io.LimitReader(rd, maxDocument)).Decode(&d); err != nil {
		return nil, fmt.Errorf("decode inspection: %w", err)
	}
	if d.Schema != PredicateType {
		return nil, fmt.Errorf("decode inspection: its schema is %.100q and not %q", d.Schema, PredicateType)
	}
	return &d, nil
}

// Artifact is the document as evidence, inspect-{image}-{arch}.json. arch is that
// of subject.Image.
func (d *Document) Artifact(arch string) (artifact.Artifact, error) {
	dt, err := d.Marshal()
	if err != nil {
		return artifact.Artifact{}, err
	}
	return artifact.Artifact{
		Kind: artifact.Scan, Name: fmt.Sprintf("inspect-%s-%s.json", d.Image.Name, arch), MediaType: artifact.TypeJSON,
		PredicateType: PredicateType, Platform: d.Image.Platform, Data: dt,
	}, nil
}

// Failures counts the findings that refuse the image.
func (d *Document) Failures() int { return d.count(Fail) }

// Warnings counts the findings that are only told.
func (d *Document) Warnings() int { return d.count(Warn) }

// Secrets counts the findings of secrets, in files and in the configuration.
func (d *Document) Secrets() int { return d.of("secret.") + d.of("config.secret") }

// LicenceFindings counts the findings about licences.
func (d *Document) LicenceFindings() int { return d.of("licence.") }

// of counts the findings of the rules that begin so, without those that an
// exception lets through.
func (d *Document) of(prefix string) int {
	n := 0
	for _, r := range d.Rules {
		if strings.HasPrefix(r.ID, prefix) {
			n += r.Findings - r.Excepted
		}
	}
	return n
}

func (d *Document) count(a Action) int {
	n := 0
	for _, r := range d.Rules {
		if r.Action == a {
			n += r.Findings - r.Excepted
		}
	}
	return n
}

var rank = map[any]int{
	Fail: 0, Warn: 1, Excepted: 2,
	Critical: 0, High: 1, Medium: 2, Low: 3,
}

func sortFindings(list []Finding) {
	slices.SortStableFunc(list, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(rank[a.Action], rank[b.Action]), cmp.Compare(rank[a.Severity], rank[b.Severity]),
			cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Subject.Kind, b.Subject.Kind), cmp.Compare(a.Subject.Name, b.Subject.Name),
			cmp.Compare(a.Subject.Layer, b.Subject.Layer), cmp.Compare(a.Subject.Line, b.Subject.Line),
			cmp.Compare(a.Detail, b.Detail), cmp.Compare(a.Message, b.Message), cmp.Compare(a.Fingerprint, b.Fingerprint),
		)
	})
}
