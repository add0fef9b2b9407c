package verify

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/platforms"
	digest "github.com/opencontainers/go-digest"

	"github.com/temper-images/temper/client/ci"
	"github.com/temper-images/temper/client/signing"
)

// Kind is one thing that an image is asked for.
type Kind string

// The kinds.
const (
	// Signature is a signature of the image itself. It is asked of the index and of
	// each image that the index lists, all other kinds of the images only.
	Signature Kind = "signature"
	// Provenance is SLSA Provenance v1 of a build.
	Provenance Kind = "provenance"
	SBOM       Kind = "sbom"
	// Scan is a scan for vulnerabilities (Cosign's vuln predicate).
	Scan Kind = "scan"
	// Gate is what Temper's vulnerability gate decided.
	Gate Kind = "gate"
	// Hardening is Temper's hardening report.
	Hardening Kind = "hardening"
	// Inspection is the result of Temper's inspection of the image's content.
	Inspection Kind = "inspection"
	VEX        Kind = "vex"
	// Test are test results (in-toto attestation framework, test-result v0.1).
	Test Kind = "test"
)

// Kinds are all kinds, in the order in which a report has them.
var Kinds = []Kind{Signature, Provenance, SBOM, Scan, Gate, Hardening, Inspection, VEX, Test}

// DefaultKinds are asked for when a policy names none.
var DefaultKinds = []Kind{Signature, Provenance, SBOM, Scan}

// Policy is what an image must have. The zero value asks for DefaultKinds and has no
// expectations of what they say; it lacks Signers, which somebody has to name.
type Policy struct {
	// Signers are whose signatures count, of the image and of all that is said about
	// it. Any of them will do.
	Signers []Signer `json:"signers,omitempty" yaml:"signers"`
	// Sigstore says what keyless signatures, the transparency log and timestamps are
	// verified with. Empty means the public deployment.
	Sigstore Sigstore `json:"sigstore,omitzero" yaml:"sigstore"`
	// Require are the kinds that must be there and in order. An expectation below
	// about a kind requires the kind, too.
	Require []Kind `json:"require,omitempty" yaml:"require"`
	// Platforms are the images of an index that are verified, "linux/amd64". Each
	// must be there. Empty means all.
	Platforms []string `json:"platforms,omitempty" yaml:"platforms"`
	// Provenance says where the image has to come from.
	Provenance ProvenancePolicy `json:"provenance,omitzero" yaml:"provenance"`
	// SBOM says which bills of materials there have to be.
	SBOM SBOMPolicy `json:"sbom,omitzero" yaml:"sbom"`
	// Scan says how old a scan may be.
	Scan ScanPolicy `json:"scan,omitzero" yaml:"scan"`
	// Gate says which decisions of the vulnerability gate will do.
	Gate GatePolicy `json:"gate,omitzero" yaml:"gate"`
}

// Signer is one whose signatures count: the holder of a key, or an identity that
// Sigstore certifies.
type Signer struct {
	// Key is a public key: a PEM file, env://NAME, k8s://NAMESPACE/SECRET, a PKCS#11
	// URI, or a key of a KMS. In a policy file the path of a file is relative to it.
	Key string `json:"key,omitempty" yaml:"key"`
	// Identity is the subject of the certificates of keyless signatures, an e-mail
	// address or a URI; IdentityPattern is a regular expression (RE2) for the whole of
	// it.
	Identity        string `json:"identity,omitempty" yaml:"identity"`
	IdentityPattern string `json:"identityPattern,omitempty" yaml:"identityPattern"`
	// Issuer is who vouches for the identity, and IssuerPattern a regular expression
	// for the whole of its address.
	Issuer        string `json:"issuer,omitempty" yaml:"issuer"`
	IssuerPattern string `json:"issuerPattern,omitempty" yaml:"issuerPattern"`
	// TLog demands an entry in the transparency log, on or off. Empty means off with
	// a key and on with an identity.
	TLog string `json:"tlog,omitempty" yaml:"tlog"`
	// Timestamp demands the time of an RFC 3161 authority.
	Timestamp bool `json:"timestamp,omitempty" yaml:"timestamp"`
}

// Sigstore is what is trusted of a deployment of Sigstore.
type Sigstore struct {
	// TrustedRoot is a file with keys and certificates. In a policy file its path is
	// relative to that file, as is TUFRoot.
	TrustedRoot string `json:"trustedRoot,omitempty" yaml:"trustedRoot"`
	// TUFMirror is the address of a TUF repository that has them, and TUFRoot the
	// file of its first root metadata.
	TUFMirror string `json:"tufMirror,omitempty" yaml:"tufMirror"`
	TUFRoot   string `json:"tufRoot,omitempty" yaml:"tufRoot"`
}

// ProvenancePolicy compares with what provenance says. What is empty is not
// compared.
type ProvenancePolicy struct {
	// Builders are the builders that may have built the image.
	Builders []Builder `json:"builders,omitempty" yaml:"builders"`
	// Source is the address of the repository.
	Source string `json:"source,omitempty" yaml:"source"`
	// Ref is the branch or tag, as "refs/heads/main". A star stands for any
	// characters but slashes: "refs/tags/v*".
	Ref string `json:"ref,omitempty" yaml:"ref"`
	// Commit is the source's commit.
	Commit string `json:"commit,omitempty" yaml:"commit"`
	// Workflow is the path of the workflow's file, or the name of the job.
	Workflow string `json:"workflow,omitempty" yaml:"workflow"`
	// Level is the lowest level of SLSA's Build track that will do, 1 to 3.
	Level int `json:"level,omitempty" yaml:"level" jsonschema:"minimum=0,maximum=3"`
}

// Builder is one that may have built the image.
type Builder struct {
	// ID is the builder.id of provenance.
	ID string `json:"id" yaml:"id"`
	// Level is the level of SLSA's Build track, 1 to 3, that you found the builder to
	// reach with these signers. Without it the image reaches what provenance itself
	// shows, level 2 at most.
	Level int `json:"level,omitempty" yaml:"level" jsonschema:"minimum=0,maximum=3"`
}

// SBOMPolicy is about bills of materials.
type SBOMPolicy struct {
	// Formats are the formats that must all be there, cyclonedx and spdx. Empty means
	// that one of them will do.
	Formats []string `json:"formats,omitempty" yaml:"formats"`
}

// ScanPolicy is about scans.
type ScanPolicy struct {
	// MaxAge is how old the knowledge of a scan may be: "7d", "36h". Empty means
	// any age.
	MaxAge Age `json:"maxAge,omitempty" yaml:"maxAge"`
}

// GatePolicy is about the vulnerability gate.
type GatePolicy struct {
	// Accept is warn when an image will do that the gate let pass with a warning,
	// and pass when not. Empty means warn.
	Accept string `json:"accept,omitempty" yaml:"accept"`
}

// The values of GatePolicy.Accept.
const (
	AcceptWarn = "warn"
	AcceptPass = "pass"
)

// The values of SBOMPolicy.Formats.
const (
	FormatCycloneDX = "cyclonedx"
	FormatSPDX      = "spdx"
)

// Age is a time span as text: days as "7d", or what time.ParseDuration reads.
type Age string

// maxAge bounds an Age, so that no sum with it overflows.
const maxAge = 100 * 365 * 24 * time.Hour

// Duration is the time span. An empty one is zero.
func (a Age) Duration() (time.Duration, error) {
	if a == "" {
		return 0, nil
	}
	var d time.Duration
	var err error
	if days, ok := strings.CutSuffix(string(a), "d"); ok {
		var n int
		if n, err = strconv.Atoi(days); err == nil && n >= 0 && n <= int(maxAge/(24*time.Hour)) {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	} else if d, err = time.ParseDuration(string(a)); err == nil && d >= 0 && d <= maxAge {
		return d, nil
	}
	return 0, fmt.Errorf("%.40q is no age: write days as 7d, or hours as 36h", string(a))
}

// PolicyError says what is wrong with a policy.
type PolicyError struct {
	// File, Line and Column say where, counted from 1. File is empty when the policy
	// was in no file, and Line is 0 when the file as a whole is at fault.
	File         string
	Line, Column int
	// Field is the path of the field, "signers[0].key", or empty.
	Field string
	Err   error
}

func (e *PolicyError) Error() string {
	var b strings.Builder
	switch {
	case e.File != "" && e.Line > 0:
		fmt.Fprintf(&b, "%s:%d:%d: ", e.File, e.Line, e.Column)
	case e.File != "":
		fmt.Fprintf(&b, "%s: ", e.File)
	default:
		b.WriteString("policy: ")
	}
	if e.Field != "" {
		b.WriteString(e.Field + ": ")
	}
	return b.String() + e.Err.Error()
}

func (e *PolicyError) Unwrap() error { return e.Err }

// maxList bounds each list of a policy.
const maxList = 100

var commitPattern = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// Check says what is wrong with the policy, as a *PolicyError. That there are no
// Signers is not wrong: flags may name them.
func (p *Policy) Check() error {
	for i, s := range p.Signers {
		if field, err := s.check(); err != nil {
			return &PolicyError{Field: fmt.Sprintf("signers[%d]%s", i, field), Err: err}
		}
	}
	for i, k := range p.Require {
		if !slices.Contains(Kinds, k) {
			return &PolicyError{Field: fmt.Sprintf("require[%d]", i), Err: fmt.Errorf("%.40q is none of %s", string(k), words(Kinds))}
		}
	}
	for i, name := range p.Platforms {
		if _, err := platforms.Parse(name); err != nil {
			return &PolicyError{Field: fmt.Sprintf("platforms[%d]", i), Err: fmt.Errorf("%.80q is no platform, as linux/amd64 is", name)}
		}
	}
	for i, f := range p.SBOM.Formats {
		if f != FormatCycloneDX && f != FormatSPDX {
			return &PolicyError{Field: fmt.Sprintf("sbom.formats[%d]", i), Err: fmt.Errorf("%.40q is none of %s, %s", f, FormatCycloneDX, FormatSPDX)}
		}
	}
	if _, err := p.Scan.MaxAge.Duration(); err != nil {
		return &PolicyError{Field: "scan.maxAge", Err: err}
	}
	if a := p.Gate.Accept; a != "" && a != AcceptWarn && a != AcceptPass {
		return &PolicyError{Field: "gate.accept", Err: fmt.Errorf("%.40q is none of %s, %s", a, AcceptWarn, AcceptPass)}
	}
	if n := max(len(p.Signers), len(p.Require), len(p.Platforms), len(p.SBOM.Formats), len(p.Provenance.Builders)); n > maxList {
		return &PolicyError{Err: fmt.Errorf("one of its lists has %d entries, more than %d", n, maxList)}
	}
	return p.Provenance.check()
}

func (s Signer) check() (field string, err error) {
	identity := s.Identity != "" || s.IdentityPattern != ""
	issuer := s.Issuer != "" || s.IssuerPattern != ""
	switch {
	case s.Key == "" && !identity && !issuer:
		return "", errors.New("name a key, or an identity and its issuer")
	case s.Key != "" && (identity || issuer):
		return "", errors.New("a signer is a key or an identity, not both: make it two signers")
	case s.Key == "" && !identity:
		return "", errors.New("an issuer alone vouches for everybody: name the identity")
	case s.Key == "" && !issuer:
		return "", errors.New("an identity without its issuer could be anybody's: name the issuer")
	case s.Identity != "" && s.IdentityPattern != "":
		return ".identityPattern", errors.New("give the identity or a pattern, not both")
	case s.Issuer != "" && s.IssuerPattern != "":
		return ".issuerPattern", errors.New("give the issuer or a pattern, not both")
	}
	for _, p := range [][2]string{{".identityPattern", s.IdentityPattern}, {".issuerPattern", s.IssuerPattern}} {
		if _, err := regexp.Compile(p[1]); err != nil {
			return p[0], err
		}
	}
	if _, err := signing.ParseTLog(s.TLog); err != nil {
		return ".tlog", err
	}
	return "", nil
}

func (p ProvenancePolicy) check() error {
	const section = "provenance."
	for i, b := range p.Builders {
		field := fmt.Sprintf(section+"builders[%d]", i)
		switch {
		case b.ID == "":
			return &PolicyError{Field: field, Err: errors.New("it has no id: that is the builder.id of provenance")}
		case b.Level < 0 || b.Level > 3:
			return &PolicyError{Field: field + ".level", Err: fmt.Errorf("%d is no level of SLSA's Build track: 1, 2 or 3", b.Level)}
		}
	}
	switch {
	case p.Level < 0 || p.Level > 3:
		return &PolicyError{Field: section + "level", Err: fmt.Errorf("%d is no level of SLSA's Build track: 1, 2 or 3", p.Level)}
	case p.Commit != "" && !commitPattern.MatchString(p.Commit):
		return &PolicyError{Field: section + "commit", Err: fmt.Errorf("%.80q is no commit in full: 40 or 64 hexadecimal digits in lower case", p.Commit)}
	case p.Source != "" && ci.RepositoryURL(p.Source) == "":
		return &PolicyError{Field: section + "source", Err: errors.New("it is no address of a repository, as https://github.com/team/app is")}
	}
	if _, err := path.Match(p.Ref, ""); err != nil {
		return &PolicyError{Field: section + "ref", Err: fmt.Errorf("%.80q is no pattern: %w", p.Ref, err)}
	}
	return nil
}

// Required are the kinds that the policy requires, by name or by an expectation of
// them, in the order of Kinds.
func (p *Policy) Required() []Kind {
	want := p.Require
	if len(want) == 0 {
		want = DefaultKinds
	}
	var out []Kind
	for _, k := range Kinds {
		if slices.Contains(want, k) || p.expects(k) {
			out = append(out, k)
		}
	}
	return out
}

// expects says whether the policy expects something of a kind.
func (p *Policy) expects(k Kind) bool {
	switch k {
	case Provenance:
		return !p.Provenance.empty()
	case SBOM:
		return len(p.SBOM.Formats) > 0
	case Scan:
		return p.Scan.MaxAge != ""
	case Gate:
		return p.Gate.Accept != ""
	}
	return false
}

func (p ProvenancePolicy) empty() bool {
	return len(p.Builders) == 0 && cmp.Or(p.Source, p.Ref, p.Commit, p.Workflow) == "" && p.Level == 0
}

// Digest is of the policy as JSON: the same for the same demands, however they were
// written.
func (p *Policy) Digest() (digest.Digest, error) {
	full := *p
	full.Require = p.Required()
	dt, err := json.Marshal(full)
	if err != nil {
		return "", fmt.Errorf("encode the policy: %w", err)
	}
	return digest.FromBytes(dt), nil
}

func words(list []Kind) string {
	out := make([]string, len(list))
	for i, k := range list {
		out[i] = string(k)
	}
	return strings.Join(out, ", ")
}
