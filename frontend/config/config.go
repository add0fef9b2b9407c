// Package config holds temper.yaml: its types, defaults, strict reading, the
// overrides by build argument and environment, and the errors that point at the
// line to mend.
package config

import (
	"encoding/json"
	"fmt"

	"github.com/temper-images/temper/hardening/spec"
)

// FileName is the name under which the file is looked for.
const FileName = "temper.yaml"

// ReportKey begins the key of the result metadata in which the frontend hands the
// client a summary of a platform's hardening report (spec.Report without paths):
// "temper.hardening.report/linux/amd64".
const ReportKey = "temper.hardening.report"

// EffectiveKey is the frontend option by which a client asks for the effective
// configuration, temper.yaml with all overrides, and the key of the result
// metadata in which it gets it, as JSON for Decode: only the frontend can look into
// a context that the builder fetches.
const EffectiveKey = "temper.config"

// Config is what temper.yaml says. Every field has a default, so an empty or
// absent file is valid.
type Config struct {
	// What hardening removes from the final stage, and what it must keep.
	Harden Harden `yaml:"harden" json:"harden,omitzero"`
	// How the software catalogues are written.
	SBOM SBOM `yaml:"sbom" json:"sbom,omitzero"`
	// Which vulnerabilities stop a release.
	Scan Scan `yaml:"scan" json:"scan,omitzero"`
	// Which faults of the image itself stop a release.
	Inspect Inspect `yaml:"inspect" json:"inspect,omitzero"`
	// Which licences stop a release.
	Licences Licences `yaml:"licences" json:"licences,omitzero"`
	// With what the evidence is signed.
	Sign Sign `yaml:"sign" json:"sign,omitzero"`
	// Where the evidence is stored.
	Evidence Evidence `yaml:"evidence" json:"evidence,omitzero"`
	// How the image is published.
	Push Push `yaml:"push" json:"push,omitzero"`
	// What is recorded of a run, and where.
	Log Log `yaml:"log" json:"log,omitzero"`
}

// Harden tunes the hardened stage.
type Harden struct {
	// How much is removed: "off" changes nothing, "exclusive" removes package managers, all that only they needed, documentation, caches, logs and temporary files, "minimal" also what the application cannot reach.
	Level spec.Level `yaml:"level" json:"level,omitempty"`
	// Whether command interpreters stay.
	Shell spec.Shell `yaml:"shell" json:"shell,omitempty"`
	// Whether documentation, manual and info pages stay.
	Docs Docs `yaml:"docs" json:"docs,omitempty"`
	// Whether compiled Python modules stay whose source stays: without them an image is smaller and Python starts more slowly.
	Bytecode Bytecode `yaml:"bytecode" json:"bytecode,omitempty"`
	// Locales to keep besides C and POSIX: "de" keeps de, de_AT and so on, "de_AT" only itself.
	Locales []string `yaml:"locales" json:"locales,omitempty"`
	// Sets of rules that come with Temper, by name; one name or a list.
	Preset []string `yaml:"preset" json:"preset,omitempty"`
	// What stays whatever else is decided: absolute paths or globs, where "**" stands for any number of directories, "package:NAME" or "soname:NAME".
	Keep []string `yaml:"keep" json:"keep,omitempty"`
	// What goes although it would stay, in the same forms; keep wins over remove.
	Remove []string `yaml:"remove" json:"remove,omitempty"`
	// Absolute paths of programs that keep their set-uid and set-gid bits.
	SetUID []string `yaml:"setuid" json:"setuid,omitempty"`
	// Whom the image runs as: "auto" keeps a user that is not root and creates one otherwise, "keep" leaves the Dockerfile's user, "UID" or "UID:GID" sets it.
	User string `yaml:"user" json:"user,omitempty"`
	// Absolute directories that the image's user must own, besides those found by itself; they are made when absent.
	Writable []string `yaml:"writable" json:"writable,omitempty"`
	// Whether the hardening report is attached to the image as an in-toto attestation. An attestation makes the result an image index, which some consumers refuse.
	Report Report `yaml:"report" json:"report,omitempty"`
}

// Docs says what becomes of documentation.
type Docs string

// The values of Docs.
const (
	DocsKeep   Docs = "keep"
	DocsRemove Docs = "remove"
)

// Bytecode says what becomes of compiled Python modules.
type Bytecode string

// The values of Bytecode.
const (
	BytecodeKeep   Bytecode = "keep"
	BytecodeRemove Bytecode = "remove"
)

// Report says where the hardening report goes.
type Report string

// The values of Report.
const (
	ReportAttach Report = "attach"
	ReportNone   Report = "none"
)

// Encode writes an effective configuration.
func (c Config) Encode() ([]byte, error) { return json.Marshal(c) }

// Decode reads what Encode wrote. A field that is not in it has its zero value, not
// its default.
func Decode(dt []byte) (Config, error) {
	var c Config
	if err := json.Unmarshal(dt, &c); err != nil {
		return Config{}, fmt.Errorf("decode the configuration: %w", err)
	}
	return c, nil
}

// Default is the configuration of a build with no temper.yaml.
func Default() Config {
	return Config{
		Harden: Harden{
			Level:    spec.LevelExclusive,
			Shell:    spec.ShellKeep,
			Docs:     DocsRemove,
			Bytecode: BytecodeKeep,
			User:     spec.UserAuto,
			Report:   ReportAttach,
		},
		SBOM:     SBOM{Formats: []string{"cyclonedx", "spdx"}, CycloneDX: "1.6", SPDX: "2.3"},
		Scan:     Scan{Gate: GateFail, Severities: []string{"critical", "high"}, Fixed: true, Exploited: true, MaxAge: 5},
		Inspect:  Inspect{Gate: GateFail},
		Licences: Licences{Gate: GateFail, Unknown: GateOff},
		Sign:     Sign{TLog: TLogAuto},
		Evidence: Evidence{URL: "temper-evidence"},
		Push:     Push{Order: OrderAuto, Formats: []string{FormatBundle, FormatCosign}, ArchTags: true},
		Log:      Log{Format: LogNone, Level: "info"},
	}
}
