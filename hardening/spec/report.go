package spec

import (
	"encoding/json"
	"fmt"
	"io"
)

// PredicateType is the in-toto predicate type of a Report that is attached to
// an image (in-toto Attestation Framework v1, "predicateType").
const PredicateType = "https://github.com/temper-images/temper/hardening-report/v1"

// ReportFile is the name of the file that holds a Report in the result of the
// harden vertex; exporters that write attestations as files use it too.
const ReportFile = "hardening.intoto.json"

// maxReport bounds what ReadReport reads, in bytes. BuildKit reads no
// attestation above 40 MiB.
const maxReport = 40 << 20

// Report says what hardening did to one platform's root filesystem, and how
// that was checked. It holds no clock and no host name: equal inputs give equal
// reports.
type Report struct {
	// Level is the level that was carried out.
	Level Level `json:"level"`
	// Family names the distribution family: "debian", "alpine", "rpm" or "none".
	Family string `json:"family"`
	// Distribution is ID and VERSION_ID of os-release, "debian 12", or empty.
	Distribution string `json:"distribution,omitempty"`
	// Before and After count the runtime stage and the hardened stage.
	Before Totals `json:"before"`
	After  Totals `json:"after"`
	// User is whom the image runs as.
	User User `json:"user"`
	// Removed lists the groups of removed files, the largest first.
	Removed []Group `json:"removed"`
	// Packages lists every package of the runtime stage, sorted by type and name.
	Packages []Package `json:"packages"`
	// Reasons say, at level "minimal", why each path stays, sorted by path.
	Reasons []Reason `json:"reasons,omitempty"`
	// Changed lists the kept entries whose mode or owner hardening set on
	// purpose, sorted by path.
	Changed []Change `json:"changed,omitempty"`
	// Notices are observations about the input that changed nothing, such as a
	// malformed file that was treated as plain data.
	Notices []string `json:"notices,omitempty"`
	// Checks are the promises and what was found when each was tested on the
	// hardened root filesystem. They are empty until the check has run.
	Checks []Check `json:"checks,omitempty"`
}

// Totals counts a root filesystem.
type Totals struct {
	// Files counts everything that is not a directory.
	Files int `json:"files"`
	// Directories counts directories without the root itself.
	Directories int `json:"directories"`
	// Bytes is the sum of regular files' sizes, a hardlinked file once.
	Bytes int64 `json:"bytes"`
	// Packages counts the package records.
	Packages int `json:"packages"`
	// Executables counts regular files that can be executed: ELF programs and
	// scripts with an execute bit.
	Executables int `json:"executables"`
	// Libraries counts ELF shared objects that are not programs.
	Libraries int `json:"libraries"`
	// SetUID counts regular files with a set-uid or set-gid bit.
	SetUID int `json:"setuid"`
}

// User is whom the image runs as.
type User struct {
	// Config is the value for the image configuration's User field.
	Config string `json:"config"`
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	// Created says that hardening added the user to /etc/passwd and /etc/group.
	Created bool `json:"created,omitempty"`
}

// Group is a set of removed files with one reason.
type Group struct {
	// Class is a stable word: "package-manager", "orphan", "documentation",
	// "locale", "cache", "log", "temporary", "shell", "development",
	// "unreachable", "rule".
	Class string `json:"class"`
	// Name says what the group is, for example a package or a directory.
	Name string `json:"name"`
	// Why is the chain that led to the removal, from its cause to the group.
	Why []string `json:"why,omitempty"`
	// Files and Bytes count as Totals does.
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
	// Paths are the removed paths, absolute and sorted. Whole directory trees
	// stand as one path with a trailing slash.
	Paths []string `json:"paths,omitempty"`
}

// Reason is the last step of the shortest chain from a root to a kept path. The
// whole chain is found by following From until it is empty.
type Reason struct {
	// Path is absolute. With a trailing slash it stands for all that stays below
	// a directory and has no reason of its own.
	Path string `json:"path"`
	// From is the path that led to this one, or "package NAME"; it is empty when
	// Path is a root.
	From string `json:"from,omitempty"`
	// Why says how From leads to Path, or why Path is a root: words that complete
	// the sentence "From Why Path", such as "links to", or "is the entrypoint".
	Why string `json:"why"`
	// Needs are the paths that Path pulls in directly, sorted. A root filesystem
	// with more than 262,144 such steps has some left out.
	Needs []string `json:"needs,omitempty"`
}

// The values of Package.State.
const (
	PackageKept    = "kept"
	PackagePartial = "partial"
	PackageRemoved = "removed"
)

// Package is a package of the runtime stage and what became of it.
type Package struct {
	// Type is "deb", "apk" or "rpm", as in a package URL.
	Type    string `json:"type"`
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch,omitempty"`
	// State is one of the Package constants.
	State string `json:"state"`
	// FilesBefore and FilesAfter count the package's non-directory files.
	FilesBefore int `json:"filesBefore"`
	FilesAfter  int `json:"filesAfter"`
	// Why says, for a removed package, what made it go.
	Why string `json:"why,omitempty"`
}

// The values of Change.What.
const (
	// ChangeSetUID took the set-uid and set-gid bits; Before and After are modes.
	ChangeSetUID = "setuid-cleared"
	// ChangeOwner gave the entry to the image's user; Before and After are
	// "UID:GID".
	ChangeOwner = "owner"
	// ChangeCreated added the entry.
	ChangeCreated = "created"
	// ChangeRewritten gave a file new contents.
	ChangeRewritten = "rewritten"
)

// Change is an entry that hardening changed on purpose. Modes are octal strings
// of the low twelve permission bits.
type Change struct {
	Path string `json:"path"`
	// What is one of the Change constants.
	What   string `json:"what"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// The names of the checks.
const (
	// CheckLinks: it still links.
	CheckLinks = "links"
	// CheckPackages: scanners still see the truth.
	CheckPackages = "packages"
	// CheckLockdown: it cannot install packages and does not run as root.
	CheckLockdown = "lockdown"
	// CheckUnchanged: what stayed is what was there.
	CheckUnchanged = "unchanged"
	// CheckLoads: a second implementation of the dynamic loaders finds what it
	// found before.
	CheckLoads = "loads"
)

// Check is one promise, tested on the hardened root filesystem.
type Check struct {
	Name string `json:"name"`
	// Statement is the promise in words.
	Statement string `json:"statement"`
	Passed    bool   `json:"passed"`
	// Examined counts what was looked at.
	Examined int `json:"examined"`
	// Violations say what broke the promise and how to mend it.
	Violations []string `json:"violations,omitempty"`
}

// Marshal encodes the report with a final newline.
func (r *Report) Marshal() ([]byte, error) {
	dt, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode hardening report: %w", err)
	}
	return append(dt, '\n'), nil
}

// ReadReport decodes a report, reading at most 40 MiB. Fields it does not know
// are ignored, so that an older client reads a newer report.
func ReadReport(rd io.Reader) (*Report, error) {
	var r Report
	if err := json.NewDecoder(io.LimitReader(rd, maxReport)).Decode(&r); err != nil {
		return nil, fmt.Errorf("decode hardening report: %w", err)
	}
	return &r, nil
}
