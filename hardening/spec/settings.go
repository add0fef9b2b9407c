// Package spec holds the plain types that cross the boundary of the build
// sandbox: what the in-build helper is asked to do (Settings) and what it
// answers (Report).
package spec

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Level says how much hardening removes. Each level removes more than the one
// before.
type Level string

// The levels that this version carries out.
const (
	// LevelOff changes nothing: the image is what the Dockerfile says.
	LevelOff Level = "off"
	// LevelExclusive removes package managers, everything that only they
	// needed, and the classes of files that no program needs to run:
	// documentation, manual pages, caches, logs, temporary files and the
	// locales that are not kept.
	LevelExclusive Level = "exclusive"
	// LevelMinimal keeps, of what LevelExclusive would leave, what the
	// application can reach, judged without running it.
	LevelMinimal Level = "minimal"
)

// Shell says what becomes of command interpreters.
type Shell string

// The values of Shell.
const (
	ShellKeep   Shell = "keep"
	ShellRemove Shell = "remove"
)

// UserKeep as Settings.User leaves the image's user as the Dockerfile set it,
// even when that is root. UserAuto keeps a user that is not root and creates
// one where the Dockerfile names none. Any other value is "UID" or "UID:GID".
const (
	UserAuto = "auto"
	UserKeep = "keep"
)

// NonrootID is the uid and gid of the user that hardening creates.
const NonrootID = 65532

// NonrootName is the login and group name that goes with NonrootID.
const NonrootName = "nonroot"

// maxSettings bounds what ReadSettings reads, in bytes.
const maxSettings = 4 << 20

// Settings is what the helper is asked to do. It travels as a JSON file that is
// mounted into the helper's container, so two builds with equal settings share
// their cache.
type Settings struct {
	Level Level `json:"level"`
	Shell Shell `json:"shell"`
	// Docs keeps documentation, manual and info pages.
	Docs bool `json:"docs,omitempty"`
	// Sources removes compiled Python modules whose source stays (PEP 3147).
	Sources bool `json:"sources,omitempty"`
	// Keep lists what stays whatever else is decided: absolute paths or globs
	// (path.Match syntax, with "**" for any number of directories),
	// "package:NAME" and "soname:NAME".
	Keep []string `json:"keep,omitempty"`
	// Remove lists, in the same forms, what goes although it would stay. Keep
	// wins over Remove.
	Remove []string `json:"remove,omitempty"`
	// Presets name sets of rules that come with the helper.
	Presets []string `json:"presets,omitempty"`
	// Locales lists the locales to keep besides C and POSIX: "de" keeps de,
	// de_AT, de.UTF-8 and so on, "de_AT" only itself and its encodings.
	Locales []string `json:"locales,omitempty"`
	// SetUID lists absolute paths whose set-uid and set-gid bits stay.
	SetUID []string `json:"setuid,omitempty"`
	// Writable lists absolute directories that the image's user must own,
	// besides those that hardening finds by itself. They are made when absent.
	Writable []string `json:"writable,omitempty"`
	// User is UserAuto, UserKeep or "UID[:GID]".
	User string `json:"user"`
	// Installed names the packages that the Dockerfile's own RUN instructions
	// install by name; they are never judged to be needed by nothing.
	Installed []string `json:"installed,omitempty"`
	// Image is the part of the image configuration that the decision needs.
	Image ImageConfig `json:"image"`
}

// ImageConfig is the part of an OCI image configuration (image-spec v1.1,
// config.md) that decides what hardening must keep.
type ImageConfig struct {
	User        string   `json:"user,omitempty"`
	Entrypoint  []string `json:"entrypoint,omitempty"`
	Cmd         []string `json:"cmd,omitempty"`
	Healthcheck []string `json:"healthcheck,omitempty"`
	Env         []string `json:"env,omitempty"`
	WorkingDir  string   `json:"workingDir,omitempty"`
	Volumes     []string `json:"volumes,omitempty"`
}

// Marshal encodes the settings canonically: lists whose order means nothing are
// sorted, so that equal settings have equal bytes.
func (s Settings) Marshal() ([]byte, error) {
	for _, list := range []*[]string{&s.Keep, &s.Remove, &s.Presets, &s.Locales, &s.SetUID, &s.Writable, &s.Installed, &s.Image.Volumes} {
		*list = slices.Compact(slices.Sorted(slices.Values(*list)))
	}
	dt, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode hardening settings: %w", err)
	}
	return append(dt, '\n'), nil
}

// ReadSettings decodes what Marshal wrote. An unknown field is an error: the
// frontend and the helper are one binary and must agree.
func ReadSettings(r io.Reader) (Settings, error) {
	var s Settings
	dec := json.NewDecoder(io.LimitReader(r, maxSettings))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return Settings{}, fmt.Errorf("decode hardening settings: %w", err)
	}
	if s.Level != LevelOff && s.Level != LevelExclusive && s.Level != LevelMinimal {
		return Settings{}, fmt.Errorf("decode hardening settings: level %q is not known to this helper", s.Level)
	}
	if s.Shell != ShellKeep && s.Shell != ShellRemove {
		return Settings{}, fmt.Errorf("decode hardening settings: shell %q is not known to this helper", s.Shell)
	}
	if s.User == "" {
		return Settings{}, errors.New("decode hardening settings: user is empty")
	}
	return s, nil
}
