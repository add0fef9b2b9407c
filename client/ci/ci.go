// Package ci finds out who builds and from which source: the CI platform from its
// environment, from its signed identity token where there is one, and the git
// repository.
//
// Everything but a token's claims is the word of the environment: a step of the
// same job can set any variable. Each fact therefore says where it comes from.
package ci

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// Platform is what runs the build.
type Platform string

// The platforms that are recognised.
const (
	GitHub    Platform = "github-actions"
	GitLab    Platform = "gitlab-ci"
	Jenkins   Platform = "jenkins"
	Buildkite Platform = "buildkite"
	Tekton    Platform = "tekton"
	// Local is somebody's machine, or a platform that is not known.
	Local Platform = "local"
)

// Name is the platform's name in words.
func (p Platform) Name() string {
	switch p {
	case GitHub:
		return "GitHub Actions"
	case GitLab:
		return "GitLab CI"
	case Jenkins:
		return "Jenkins"
	case Buildkite:
		return "Buildkite"
	case Tekton:
		return "Tekton"
	}
	return "local"
}

// Origin is where a fact comes from, the most credible first.
type Origin string

// The origins.
const (
	// FromClaims: a claim of the platform's signed token, verified.
	FromClaims Origin = "claims"
	// FromOption: a TEMPER_CI_ variable, which somebody set on purpose.
	FromOption Origin = "option"
	// FromEnvironment: a variable or file that the platform sets.
	FromEnvironment Origin = "environment"
	// FromRepository: the git repository that the build context lies in.
	FromRepository Origin = "repository"
)

// The names of facts, as Origins uses them.
const (
	FactRepository = "repository"
	FactCommit     = "commit"
	FactRef        = "ref"
	FactWorkflow   = "workflow"
	FactRunID      = "runId"
	FactAttempt    = "attempt"
	FactRunURL     = "runUrl"
	FactRunner     = "runner"
	FactTrigger    = "trigger"
	FactBuilder    = "builderId"
)

// Facts are what is known of a run. Strings are empty when nothing is known.
type Facts struct {
	Platform Platform
	// Repository is the URL of the repository whose workflow runs, without
	// credentials: "https://github.com/team/app", "ssh://git@host/team/app".
	Repository string
	// Commit is the commit that the run is for, 40 or 64 hexadecimal digits, and
	// Ref the branch or tag: "refs/heads/main".
	Commit, Ref string
	// Workflow is the workflow or pipeline: the path of its file in the
	// repository where the platform tells, otherwise its name.
	Workflow string
	// RunID and Attempt are the platform's numbers of the run; RunURL shows it.
	RunID, Attempt, RunURL string
	// Runner is "hosted" when the platform's owner runs the machine, "self-hosted"
	// when the user does.
	Runner string
	// Trigger is the platform's word for what started the run: "push".
	Trigger string
	// BuilderID names who ran the build as SLSA's builder.id does, or is empty.
	BuilderID string
	// Issuer is the OpenID issuer whose keys signed the token, and Subject the
	// token's subject, when there was a token.
	Issuer, Subject string
	// Origins says for each fact that is not empty where it comes from.
	Origins map[string]Origin
	// Checkout is the repository that the build context lies in, or nil. It need
	// not be Repository: a workflow can check out anything.
	Checkout *Checkout
	// Notices say in words what could not be found out, and why.
	Notices []string
}

// The values of Facts.Runner.
const (
	Hosted     = "hosted"
	SelfHosted = "self-hosted"
)

// Options say where to look. The zero value looks at the environment, and asks for
// the platform's token if it offers one.
type Options struct {
	// Lookup finds a variable. Nil means os.LookupEnv.
	Lookup func(string) (string, bool)
	// Dir is a directory in the git repository that is built from. Empty means
	// that there is none.
	Dir string
	// Ignore are paths whose changes do not make the repository dirty: what the
	// build itself writes.
	Ignore []string
	// NoToken leaves the platform's token alone.
	NoToken bool
	// Audience is whom the token is for. Empty means DefaultAudience.
	Audience string
	// Issuer is the OpenID issuer to believe. Empty means the one that belongs to
	// the platform's server.
	Issuer string
	// HTTPClient asks for tokens and keys. Nil means one of its own.
	HTTPClient *http.Client
	// Now is the time by which tokens expire. Nil means the clock.
	Now func() time.Time
}

// DefaultAudience is whom tokens are for.
const DefaultAudience = "temper"

// ContradictionError says that a signed claim and something else disagree.
type ContradictionError struct {
	Platform Platform
	// Fact is one of the Fact constants.
	Fact string
	// Claim is what the token says, Other what Origin says.
	Claim, Other string
	Origin       Origin
}

func (e *ContradictionError) Error() string {
	return fmt.Sprintf("%s: the signed token says that the %s is %q, the %s says %q: somebody changed the environment of this job; find out which step does so",
		e.Platform.Name(), e.Fact, e.Claim, e.Origin, e.Other)
}

// platform is what the package knows of one platform.
type platform interface {
	// recognise says whether the environment is the platform's.
	recognise(e env) bool
	// facts puts what the environment says.
	facts(e env, f *collector)
	// token gets a token and says which issuer may have signed it. It returns ""
	// when the platform offers none.
	token(ctx context.Context, e env, t *tokens) (raw, issuer string, err error)
	// claims puts what a verified token says.
	claims(e env, c claims, f *collector)
}

var platforms = []struct {
	name Platform
	impl platform
}{
	{GitHub, github{}}, {GitLab, gitlab{}}, {Buildkite, buildkite{}}, {Jenkins, jenkins{}}, {Tekton, tekton{}},
}

// Detect finds out what there is to know. No platform and no repository are no
// error. Errors are *TokenError and *ContradictionError, or of the context.
func Detect(ctx context.Context, o Options) (*Facts, error) {
	if o.Lookup == nil {
		o.Lookup = os.LookupEnv
	}
	e := env{lookup: o.Lookup}
	f := newCollector(Local)
	for _, p := range platforms {
		if !p.impl.recognise(e) {
			continue
		}
		f.Platform = p.name
		if !o.NoToken {
			if err := useToken(ctx, p.impl, e, o, f); err != nil {
				return nil, err
			}
		}
		explicit(e, f)
		p.impl.facts(e, f.from(FromEnvironment))
		break
	}
	if f.Platform == Local {
		explicit(e, f)
	}
	if o.Dir != "" {
		checkout, notice, err := readCheckout(ctx, o.Dir, o.Ignore)
		if err != nil {
			return nil, err
		}
		if notice != "" {
			f.Notices = append(f.Notices, notice)
		}
		f.Checkout = checkout
		if checkout != nil && f.Platform == Local {
			f.from(FromRepository)
			f.repository(checkout.Repository)
			f.commit(checkout.Commit)
			f.put(FactRef, checkout.Ref)
		}
	}
	return f.result()
}

// explicit reads what somebody says about a platform that says too little itself.
func explicit(e env, f *collector) {
	f.from(FromOption)
	f.repository(e.get("TEMPER_CI_REPOSITORY"))
	f.commit(e.get("TEMPER_CI_COMMIT"))
	f.put(FactRef, e.get("TEMPER_CI_REF"))
	f.put(FactWorkflow, e.get("TEMPER_CI_WORKFLOW"))
	f.put(FactRunID, e.get("TEMPER_CI_RUN_ID"))
	f.put(FactAttempt, e.get("TEMPER_CI_ATTEMPT"))
	f.url(FactRunURL, e.get("TEMPER_CI_RUN_URL"))
	f.put(FactTrigger, e.get("TEMPER_CI_TRIGGER"))
	f.url(FactBuilder, e.get("TEMPER_CI_BUILDER_ID"))
	if r := e.get("TEMPER_CI_RUNNER"); r == Hosted || r == SelfHosted {
		f.put(FactRunner, r)
	}
}

// Source is what is built from: the checkout if there is one, otherwise what the
// platform says. It is nil when neither is known.
func (f *Facts) Source() *Checkout {
	if f.Checkout != nil {
		c := *f.Checkout
		if c.Commit == f.Commit {
			// A checkout of one commit often has neither a branch nor a remote.
			if c.Ref == "" {
				c.Ref = f.Ref
			}
			if c.Repository == "" {
				c.Repository = f.Repository
			}
		}
		return &c
	}
	if f.Repository == "" && f.Commit == "" {
		return nil
	}
	return &Checkout{Repository: f.Repository, Commit: f.Commit, Ref: f.Ref}
}

// Claimed lists the facts that verified claims vouch for, sorted.
func (f *Facts) Claimed() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(f.Origins)) {
		if f.Origins[name] == FromClaims {
			out = append(out, name)
		}
	}
	return out
}

// String says in a few words who builds what, for progress displays.
func (f *Facts) String() string {
	var b strings.Builder
	b.WriteString(f.Platform.Name())
	if s := f.Source(); s != nil {
		if s.Repository != "" {
			b.WriteString(", " + s.Repository)
		}
		if s.Commit != "" {
			b.WriteString(" at " + s.Commit[:12])
		}
		if s.Dirty {
			b.WriteString(" with changes that are not committed")
		}
	}
	return b.String()
}
