package ci

import (
	"net/url"
	"regexp"
	"strings"
	"unicode"

	"github.com/moby/buildkit/util/gitutil"
)

// maxFact is the longest value that is believed, in bytes.
const maxFact = 2048

// env reads variables. A value that no platform would set is as good as none.
type env struct {
	lookup func(string) (string, bool)
}

func (e env) get(name string) string {
	v, _ := e.lookup(name)
	return clean(v)
}

// secret reads a variable that is no fact, such as a token.
func (e env) secret(name string) string {
	v, _ := e.lookup(name)
	return strings.TrimSpace(v)
}

// clean is v without surrounding space, or nothing when it is too long or holds
// what does not belong on one line of text.
func clean(v string) string {
	v = strings.TrimSpace(v)
	if len(v) > maxFact || strings.ContainsFunc(v, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return ""
	}
	return v
}

// collector gathers facts, the most credible origin first.
type collector struct {
	Facts
	origin Origin
	err    error
}

func newCollector(p Platform) *collector {
	return &collector{Facts: Facts{Platform: p, Origins: map[string]Origin{}}}
}

// from says where the next facts come from.
func (f *collector) from(o Origin) *collector {
	f.origin = o
	return f
}

func (f *collector) result() (*Facts, error) {
	if f.err != nil {
		return nil, f.err
	}
	return &f.Facts, nil
}

func (f *collector) field(name string) *string {
	return map[string]*string{
		FactRepository: &f.Repository, FactCommit: &f.Commit, FactRef: &f.Ref, FactWorkflow: &f.Workflow,
		FactRunID: &f.RunID, FactAttempt: &f.Attempt, FactRunURL: &f.RunURL, FactRunner: &f.Runner,
		FactTrigger: &f.Trigger, FactBuilder: &f.BuilderID,
	}[name]
}

// put keeps a fact unless a more credible origin has told it. What differs from a
// claim is an error, but for two facts that platforms spell in different ways in
// tokens and variables.
func (f *collector) put(name, value string) {
	if value == "" {
		return
	}
	p := f.field(name)
	if *p == "" {
		*p, f.Origins[name] = value, f.origin
		return
	}
	if f.Origins[name] != FromClaims || *p == value {
		return
	}
	// Servers take the names of repositories in any letters.
	if (name == FactRepository || name == FactRunURL) && strings.EqualFold(*p, value) {
		return
	}
	if f.err == nil && name != FactRunner && name != FactBuilder {
		f.err = &ContradictionError{Platform: f.Platform, Fact: name, Claim: *p, Other: value, Origin: f.origin}
	}
}

var commitPattern = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// commit keeps a full commit; a name such as HEAD is none.
func (f *collector) commit(v string) {
	if v = strings.ToLower(v); commitPattern.MatchString(v) {
		f.put(FactCommit, v)
	}
}

func (f *collector) repository(v string) { f.put(FactRepository, RepositoryURL(v)) }

// url keeps an address without credentials.
func (f *collector) url(name, v string) {
	u, err := url.Parse(v)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return
	}
	u.User = nil
	f.put(name, u.String())
}

// RepositoryURL is the URL of a git remote without credentials, query and fragment.
// The short form of ssh is written out: "ssh://git@host/team/app". A path on this
// machine names nothing for anybody else and gives "".
func RepositoryURL(remote string) string {
	u, err := gitutil.ParseURL(remote)
	if err != nil {
		return ""
	}
	out := url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/" + strings.TrimLeft(u.Path, "/")}
	switch u.Scheme {
	case gitutil.HTTPProtocol, gitutil.HTTPSProtocol, gitutil.GitProtocol:
	case gitutil.SSHProtocol:
		// The account is part of the address; only a password is a secret.
		if u.User != nil {
			out.User = url.User(u.User.Username())
		}
	default:
		return ""
	}
	if out.Host == "" {
		return ""
	}
	out.Path = strings.TrimSuffix(strings.TrimSuffix(out.Path, "/"), ".git")
	return out.String()
}
