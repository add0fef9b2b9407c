// Package licence judges SPDX licence expressions by lists of what may and what
// must not be there (SPDX 2.3, annex D).
package licence

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/github/go-spdx/v2/spdxexp"
)

// Expressions above these bounds are taken for names that nobody knows: the
// library multiplies an expression out.
const (
	maxLength = 2 << 10
	maxOr     = 10
)

// Verdict is what became of a licence.
type Verdict int

// The verdicts.
const (
	// Fine licences break no list.
	Fine Verdict = iota
	// Denied licences leave no choice but one on the list of denied licences.
	Denied
	// NotAllowed licences leave no choice that is on the list of allowed ones.
	NotAllowed
)

// Lists are what may and what must not be there: SPDX identifiers, with or
// without "WITH exception", LicenseRef names, and globs of them ("AGPL-*"), in any
// case. A licence that is on both lists is denied.
type Lists struct {
	// Allow lists the only licences that may be there. Empty means all.
	Allow []string
	Deny  []string
}

// Check says which entry of the lists is none.
func (l Lists) Check() error {
	for _, entry := range slices.Concat(l.Allow, l.Deny) {
		if isGlob(entry) {
			if _, err := path.Match(entry, ""); err != nil {
				return fmt.Errorf("licence %q: %w", entry, err)
			}
			continue
		}
		atoms, err := atomsOf(entry)
		if err != nil || len(atoms) != 1 {
			return fmt.Errorf("licence %q: it is no SPDX licence identifier, such as Apache-2.0, and no pattern, such as GPL-*", entry)
		}
	}
	return nil
}

// Known says that the name is an SPDX expression of known licences.
func Known(name string) bool {
	_, err := atomsOf(name)
	return err == nil
}

// Judge judges one licence: an SPDX expression, or a name that is none, which only
// globs can allow or deny. Where the expression leaves a choice ("MIT OR
// GPL-2.0-only"), one good choice is enough.
func (l Lists) Judge(name string) Verdict {
	atoms, err := atomsOf(name)
	if err != nil {
		switch {
		case matches(l.Deny, name):
			return Denied
		case len(l.Allow) > 0 && !matches(l.Allow, name):
			return NotAllowed
		}
		return Fine
	}
	// A licence is denied under its own name only: who denies GPL-3.0-only said
	// nothing of GPL-2.0-or-later, which leaves the choice.
	rest := slices.DeleteFunc(slices.Clone(atoms), func(a string) bool { return matches(l.Deny, a) })
	if !satisfies(name, rest) {
		return Denied
	}
	if len(l.Allow) == 0 {
		return Fine
	}
	allowed := slices.DeleteFunc(rest, func(a string) bool { return !matches(l.Allow, a) && !satisfies(a, exact(l.Allow)) })
	if !satisfies(name, allowed) {
		return NotAllowed
	}
	return Fine
}

func satisfies(expression string, allowed []string) bool {
	if len(allowed) == 0 {
		return false
	}
	ok, err := guarded(func() (bool, error) { return spdxexp.Satisfies(expression, allowed) })
	return err == nil && ok
}

// guarded turns a panic of the library into an error: it has one for some
// expressions that are none, such as "((".
func guarded[T any](f func() (T, error)) (out T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the expression cannot be read: %v", r)
		}
	}()
	return f()
}

// atomsOf are the single licences of an expression, sorted.
func atomsOf(expression string) ([]string, error) {
	if len(expression) > maxLength || strings.Count(strings.ToUpper(expression), " OR ") > maxOr {
		return nil, errors.New("the expression is too long")
	}
	atoms, err := guarded(func() ([]string, error) { return spdxexp.ExtractLicenses(expression) })
	if err != nil {
		return nil, err
	}
	slices.Sort(atoms)
	return atoms, nil
}

func isGlob(entry string) bool { return strings.ContainsAny(entry, "*?[") }

// exact are the entries that are no globs.
func exact(list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), isGlob)
}

func matches(list []string, name string) bool {
	for _, entry := range list {
		if strings.EqualFold(entry, name) {
			return true
		}
		if ok, err := path.Match(strings.ToLower(entry), strings.ToLower(name)); err == nil && ok {
			return true
		}
	}
	return false
}
