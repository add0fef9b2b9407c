package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/temper-images/temper/client/inspect/licence"
)

// Action is what becomes of a finding.
type Action string

// The actions.
const (
	// Fail refuses the image.
	Fail Action = "fail"
	// Warn tells the finding.
	Warn Action = "warn"
	// Off does not ask the rule.
	Off Action = "off"
	// Excepted findings are let through by an exception. It is no setting.
	Excepted Action = "excepted"
)

// Policy says what becomes of findings. The zero value follows the rules' defaults.
type Policy struct {
	// Gate is for all rules but those on licences: Warn turns what would fail into
	// warnings, Off asks nothing. Empty means Fail.
	Gate Action
	// Fail, Warn and Off list rules, by ID or glob ("secret.*"). An ID goes before a
	// glob. What is on no list has its default.
	Fail, Warn, Off []string
	// Exceptions let findings through.
	Exceptions []Exception
	Licences   LicencePolicy
}

// LicencePolicy is for the rules on licences. Its lists need a catalogue.
type LicencePolicy struct {
	// Gate is as Policy.Gate, for rules on licences.
	Gate Action
	licence.Lists
	// Unknown is what becomes of packages that state no licence. Empty means what
	// the lists of rules say, and Off when they say nothing.
	Unknown Action
	// Exceptions are for rules on licences only.
	Exceptions []Exception
}

// Exception lets findings through until a day.
type Exception struct {
	// ID is a rule, a kind of secret in gitleaks' words, or a licence; or a glob.
	// Empty means any, and Match must not be.
	ID string `json:"id,omitempty"`
	// Match is a glob of the subject's name, with ** for any directories: a path, a
	// variable, a package. Empty means any.
	Match string `json:"match,omitempty"`
	// Version is a glob of the package's version. Empty means any.
	Version string `json:"version,omitempty"`
	// Reason says why. It must not be empty.
	Reason string `json:"reason"`
	// Expires is the last day, UTC, on which it holds, YYYY-MM-DD.
	Expires string `json:"expires"`
}

// PolicyError says what is wrong with a policy.
type PolicyError struct{ Err error }

func (e *PolicyError) Error() string { return "inspection policy: " + e.Err.Error() }
func (e *PolicyError) Unwrap() error { return e.Err }

// Check says what is wrong with the policy, as a *PolicyError.
func (p *Policy) Check() error {
	_, err := p.compile(time.Time{})
	return err
}

// judge is a policy that was checked, on a day.
type judge struct {
	actions    map[string]Action
	lists      licence.Lists
	exceptions []exception
	date       string
}

type exception struct {
	Exception
	licences bool
	expired  bool
	used     int
}

func (p *Policy) compile(now time.Time) (*judge, error) {
	j := &judge{actions: map[string]Action{}, lists: p.Licences.Lists, date: now.UTC().Format(time.DateOnly)}
	for name, a := range map[string]Action{"gate": p.Gate, "licences: gate": p.Licences.Gate, "licences: unknown": p.Licences.Unknown} {
		if a != "" && a != Fail && a != Warn && a != Off {
			return nil, &PolicyError{fmt.Errorf("%s is %q: it is one of fail, warn and off", name, a)}
		}
	}
	if err := p.rules(j.actions); err != nil {
		return nil, &PolicyError{err}
	}
	if err := j.lists.Check(); err != nil {
		return nil, &PolicyError{err}
	}
	for i, e := range slices.Concat(p.Exceptions, p.Licences.Exceptions) {
		if err := e.check(); err != nil {
			return nil, &PolicyError{fmt.Errorf("exception %d (%s): %w", i+1, cmp.Or(e.ID, e.Match, "without an id"), err)}
		}
		// Days written so are in the order of their characters.
		j.exceptions = append(j.exceptions, exception{Exception: e, licences: i >= len(p.Exceptions), expired: e.Expires < j.date})
	}
	return j, nil
}

func (e Exception) check() error {
	if e.ID == "" && e.Match == "" {
		return errors.New("it names nothing: neither what was found nor where")
	}
	if strings.TrimSpace(e.Reason) == "" {
		return errors.New("it has no reason: say why the finding is accepted")
	}
	if _, err := time.Parse(time.DateOnly, e.Expires); err != nil {
		return fmt.Errorf("it must end on a day, YYYY-MM-DD, and has %q", e.Expires)
	}
	for _, glob := range []string{e.ID, e.Match, e.Version} {
		if !doublestar.ValidatePattern(glob) {
			return fmt.Errorf("%q is no pattern", glob)
		}
	}
	return nil
}

// rules sets the action of every rule.
func (p *Policy) rules(actions map[string]Action) error {
	lists := []struct {
		action  Action
		entries []string
	}{{Fail, p.Fail}, {Warn, p.Warn}, {Off, p.Off}}
	exact := map[string]Action{}
	globbed := map[string]Action{}
	for _, l := range lists {
		for _, entry := range l.entries {
			into := globbed
			if _, ok := lookup(entry); ok {
				into = exact
			}
			found := false
			for _, r := range rules {
				ok, err := path.Match(entry, r.ID)
				if err != nil {
					return fmt.Errorf("rule %q: %w", entry, err)
				}
				if !ok {
					continue
				}
				found = true
				if other, ok := into[r.ID]; ok && other != l.action {
					return fmt.Errorf("rule %s is on the lists %s and %s: %q stands on the second", r.ID, other, l.action, entry)
				}
				into[r.ID] = l.action
			}
			if !found {
				return fmt.Errorf("there is no rule %q: temper inspect --rules lists them", entry)
			}
		}
	}
	for _, r := range rules {
		a := cmp.Or(exact[r.ID], globbed[r.ID], r.Default)
		gate := p.Gate
		if isLicence(r.ID) {
			gate = p.Licences.Gate
		}
		if r.ID == ruleUnknownLicence {
			a = cmp.Or(p.Licences.Unknown, a)
		}
		if gate == Off || gate == Warn && a == Fail {
			a = gate
		}
		actions[r.ID] = a
	}
	return nil
}

func isLicence(rule string) bool { return strings.HasPrefix(rule, "licence.") }

func lookup(id string) (Rule, bool) {
	i := slices.IndexFunc(rules, func(r Rule) bool { return r.ID == id })
	if i < 0 {
		return Rule{}, false
	}
	return rules[i], true
}

func sortedRules(list []Rule) []Rule {
	return slices.SortedFunc(slices.Values(list), func(a, b Rule) int { return strings.Compare(a.ID, b.ID) })
}

// asked says that a rule is to be asked.
func (j *judge) asked(rule string) bool { return j.actions[rule] != Off }

// decide sets what becomes of a finding.
func (j *judge) decide(f *Finding) {
	f.Action = j.actions[f.Rule]
	for i := range j.exceptions {
		e := &j.exceptions[i]
		if e.expired || !e.matches(f) {
			continue
		}
		e.used++
		f.Action, f.Reason = Excepted, e.Reason
		return
	}
}

func (e *exception) matches(f *Finding) bool {
	is := func(glob, name string) bool {
		ok, err := doublestar.Match(glob, name)
		return glob == name || err == nil && ok
	}
	if e.licences && !isLicence(f.Rule) {
		return false
	}
	return (e.ID == "" || is(e.ID, f.Rule) || f.Detail != "" && is(e.ID, f.Detail)) &&
		(e.Match == "" || is(e.Match, f.Subject.Name)) && (e.Version == "" || is(e.Version, f.Subject.Version))
}

func (j *judge) states() []ExceptionState {
	var out []ExceptionState
	for _, e := range j.exceptions {
		s := ExceptionState{Exception: e.Exception, State: ExceptionUnused, Findings: e.used}
		switch {
		case e.expired:
			s.State = ExceptionExpired
		case e.used > 0:
			s.State = ExceptionUsed
		}
		out = append(out, s)
	}
	return out
}

// RefusedError says that the image is refused, and by what.
type RefusedError struct {
	Document *Document
}

// most findings stand in the message of a RefusedError.
const told = 10

func (e *RefusedError) Error() string {
	d := e.Document
	var b strings.Builder
	n := d.Failures()
	fmt.Fprintf(&b, "%s (%s) is refused for what is in it: %d finding", d.Image.Name, d.Image.Platform, n)
	if n != 1 {
		b.WriteByte('s')
	}
	listed := 0
	for _, f := range d.Findings {
		if f.Action != Fail || listed == told {
			break
		}
		listed++
		fmt.Fprintf(&b, "\n  %-8s %s: %s\n           %s", f.Severity, f.Rule, f.Message, f.Remedy)
	}
	if n > listed {
		fmt.Fprintf(&b, "\n  and %d more, see the inspection document", n-listed)
	}
	b.WriteString("\nAn exception with a reason and a last day lets a finding through: inspect.exceptions in temper.yaml.")
	for _, s := range d.Exceptions {
		if s.State == ExceptionExpired {
			fmt.Fprintf(&b, "\nThe exception for %s (%s) expired on %s.", s.ID, s.Reason, s.Expires)
		}
	}
	return b.String()
}

// Err is a *RefusedError when findings refuse the image, and nil otherwise.
func (d *Document) Err() error {
	if d.Failures() == 0 {
		return nil
	}
	return &RefusedError{d}
}
