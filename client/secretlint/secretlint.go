// Package secretlint refuses build arguments, and ARG and ENV instructions, that
// are likely secrets. Build arguments stay in the image's history, in its
// provenance and in the build cache; ENV stays in the image itself.
package secretlint

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/temper-images/temper/client/inspect/secrets"
	"github.com/temper-images/temper/client/redact"
	"github.com/temper-images/temper/client/secretname"
)

// Source says where a setting stands.
type Source string

// The sources of settings.
const (
	BuildArg Source = "build argument"
	Arg      Source = "ARG"
	Env      Source = "ENV"
)

// Setting is a name that a build gives a value.
type Setting struct {
	Source Source
	Name   string
	// Value is the value, or the default that an ARG has.
	Value string
	// NoValue says that an ARG has no default. It is judged by its name alone.
	NoValue bool
	// Reference says that the value was fetched from a store of secrets.
	Reference bool
	// Line is the line in the Dockerfile, from 1, or 0.
	Line int
}

// Options are what is let through.
type Options struct {
	// Allow are names, or globs of names as path.Match reads them, that are not
	// judged. A value that was fetched from a store of secrets is never let through.
	Allow []string
	// Known are secrets of this run: a value that holds one is refused whatever its name.
	Known *redact.Redactor
}

// Finding is a setting that is likely a secret. It does not hold the value.
type Finding struct {
	Source Source
	Name   string
	Line   int
	// Reason says what gives the secret away: "its name says so".
	Reason string
}

// Error is what Check returns for likely secrets.
type Error struct {
	// Findings has at least one, in the order of the settings.
	Findings []Finding
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("secrets must not be build arguments or variables of the image, where everyone who has the image finds them:")
	for _, f := range e.Findings {
		fmt.Fprintf(&b, "\n  %s %s", f.Source, f.Name)
		if f.Line > 0 {
			fmt.Fprintf(&b, " (line %d)", f.Line)
		}
		fmt.Fprintf(&b, ": %s", f.Reason)
	}
	name := e.Findings[0].Name
	id := strings.ToLower(name)
	fmt.Fprintf(&b, "\ngive a secret to the one command that needs it: --secret id=%s,env=%s, and in the Dockerfile "+
		"RUN --mount=type=secret,id=%s,env=%s; what is no secret can be let through by its name", id, name, id, name)
	return b.String()
}

// Check judges settings by their names and values. The error is an *Error when
// any of them is likely a secret.
func Check(settings []Setting, o Options) error {
	for _, pattern := range o.Allow {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("the allowed name %q: %w", pattern, err)
		}
	}
	finder, err := secrets.New("")
	if err != nil {
		return err
	}
	var found []Finding
	for _, s := range settings {
		if reason := judge(s, o, finder); reason != "" {
			found = append(found, Finding{s.Source, s.Name, s.Line, reason})
		}
	}
	if len(found) > 0 {
		return &Error{found}
	}
	return nil
}

// Learn has r know the values of the settings that are likely secrets, also of those
// that are let through: what was let through is not to be printed all the same.
func Learn(settings []Setting, r *redact.Redactor) error {
	finder, err := secrets.New("")
	if err != nil {
		return err
	}
	for _, s := range settings {
		if judge(s, Options{}, finder) != "" {
			r.Add([]byte(s.Value))
		}
	}
	return nil
}

// judge says why a setting is likely a secret, or "".
func judge(s Setting, o Options, finder *secrets.Finder) string {
	if s.Reference {
		return "its value is kept in a store of secrets"
	}
	if o.Known.Contains(s.Value) {
		return "its value holds a secret of this run"
	}
	if slices.ContainsFunc(o.Allow, func(pattern string) bool {
		ok, err := path.Match(pattern, s.Name)
		return ok && err == nil
	}) {
		return ""
	}
	if s.NoValue {
		if secretname.Likely(s.Name) {
			return "its name says so"
		}
		return ""
	}
	if harmless(s.Value) {
		return ""
	}
	if secretname.Likely(s.Name) {
		return "its name says so"
	}
	return judgeValue(s.Name, s.Value, finder)
}
