package ci

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/coreos/go-oidc/v3/oidc"
)

// What bounds the talk with a platform: the size of an answer in bytes, the time
// of all of it, and how often a question is asked that a server failed to answer.
const (
	maxAnswer    = 1 << 20
	tokenTimeout = time.Minute
	tokenTries   = 4
)

// TokenError says that the platform offers a signed token that is not good. It
// never holds the token.
type TokenError struct {
	Platform Platform
	Err      error
}

func (e *TokenError) Error() string {
	return fmt.Sprintf("identity token of %s: %v; mend the job's token settings, or take it away from the job", e.Platform.Name(), e.Err)
}

func (e *TokenError) Unwrap() error { return e.Err }

// claims are what the tokens of all platforms say, each in its own names.
type claims struct {
	// Of GitHub Actions (docs.github.com, OpenID Connect reference).
	Repository     string `json:"repository"`
	SHA            string `json:"sha"`
	Ref            string `json:"ref"`
	WorkflowRef    string `json:"workflow_ref"`
	JobWorkflowRef string `json:"job_workflow_ref"`
	RunID          string `json:"run_id"`
	RunAttempt     string `json:"run_attempt"`
	EventName      string `json:"event_name"`
	// Of GitHub Actions, GitLab and Buildkite.
	RunnerEnvironment string `json:"runner_environment"`
	// Of GitLab (docs.gitlab.com, CI/CD ID token payload).
	ProjectPath    string `json:"project_path"`
	RefPath        string `json:"ref_path"`
	PipelineID     string `json:"pipeline_id"`
	PipelineSource string `json:"pipeline_source"`
	JobID          string `json:"job_id"`
	ConfigRefURI   string `json:"ci_config_ref_uri"`
	// Of Buildkite (buildkite.com/docs, OIDC claims).
	Organization string      `json:"organization_slug"`
	Pipeline     string      `json:"pipeline_slug"`
	BuildNumber  json.Number `json:"build_number"`
	BuildBranch  string      `json:"build_branch"`
	BuildTag     string      `json:"build_tag"`
	BuildCommit  string      `json:"build_commit"`
	BuildSource  string      `json:"build_source"`

	issuer, subject string
}

// tokens asks platforms for tokens.
type tokens struct {
	client   *http.Client
	audience string
	issuer   string
}

// useToken puts the claims of the platform's token, if it offers one.
func useToken(ctx context.Context, p platform, e env, o Options, f *collector) error {
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	t := &tokens{client: bounded(o.HTTPClient), audience: o.Audience, issuer: o.Issuer}
	if t.audience == "" {
		t.audience = DefaultAudience
	}
	raw, issuer, err := p.token(ctx, e, t)
	if err != nil {
		return &TokenError{Platform: f.Platform, Err: err}
	}
	if raw == "" {
		f.Notices = append(f.Notices, f.Platform.Name()+" offers this job no signed identity token, so that all facts are what the environment says")
		return nil
	}
	c, err := t.verify(ctx, raw, issuer, o.Now)
	if err != nil {
		return &TokenError{Platform: f.Platform, Err: err}
	}
	f.from(FromClaims)
	f.Issuer, f.Subject = c.issuer, c.subject
	p.claims(e, c, f)
	return nil
}

// algorithms are the signatures that platforms use (RFC 7518, section 3.1).
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA}

// verify checks the token against its issuer's keys (OpenID Connect Core 1.0,
// section 3.1.3.7). An issuer "https://host/x" also stands for the issuers below
// it, which GitHub gives to enterprises.
func (t *tokens) verify(ctx context.Context, raw, issuer string, now func() time.Time) (claims, error) {
	if t.issuer != "" {
		issuer = t.issuer
	}
	said, err := issuerOf(raw)
	if err != nil {
		return claims{}, err
	}
	if strings.HasPrefix(said, issuer+"/") && !strings.Contains(said, "..") {
		issuer = said
	}
	if said != issuer {
		return claims{}, fmt.Errorf("it was issued by %q, not by %q", clean(said), issuer)
	}
	if err := secure(issuer); err != nil {
		return claims{}, fmt.Errorf("issuer: %w", err)
	}
	ctx = oidc.ClientContext(ctx, t.client)
	provider, err := oidc.NewProvider(ctx, issuer)
	if err != nil {
		return claims{}, fmt.Errorf("ask its issuer %s for the keys: %w", issuer, withoutBody(err))
	}
	token, err := provider.VerifierContext(ctx, &oidc.Config{
		ClientID: t.audience, SupportedSigningAlgs: algorithms, Now: now,
	}).Verify(ctx, raw)
	if err != nil {
		return claims{}, err
	}
	c := claims{issuer: token.Issuer, subject: clean(token.Subject)}
	if err := token.Claims(&c); err != nil {
		return claims{}, errors.New("its claims are not what this platform's tokens say")
	}
	return c, nil
}

// issuerOf reads who a token says that it is from, before anything is verified.
func issuerOf(raw string) (string, error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || len(raw) > maxAnswer {
		return "", errors.New("it is not a signed token (JWS)")
	}
	var payload struct {
		Issuer string `json:"iss"`
	}
	dt, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(dt, &payload) != nil {
		return "", errors.New("it is not a signed token (JWS) with claims")
	}
	return payload.Issuer, nil
}

// secure refuses addresses at which others could listen.
func secure(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return errors.New("it is not a URL")
	}
	if u.Scheme != "https" {
		return fmt.Errorf("%s://%s is not https", u.Scheme, u.Host)
	}
	return nil
}

// ask sends a request for a token and decodes the answer into out. Nothing of the
// answer gets into an error.
func (t *tokens) ask(ctx context.Context, method, address, authorization, body string, out any) error {
	if err := secure(address); err != nil {
		return fmt.Errorf("address of the token service: %w", err)
	}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		return struct{}{}, t.once(ctx, method, address, authorization, body, out)
	}, backoff.WithBackOff(&backoff.ExponentialBackOff{
		InitialInterval: 200 * time.Millisecond, Multiplier: 2, MaxInterval: 2 * time.Second,
	}), backoff.WithMaxTries(tokenTries))
	return err
}

func (t *tokens) once(ctx context.Context, method, address, authorization, body string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return backoff.Permanent(errors.New("address of the token service: it is not a URL"))
	}
	req.Header.Set("Authorization", authorization)
	req.Header.Set("Accept", "application/json")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return fmt.Errorf("ask for it at %s: %w", req.URL.Host, withoutURL(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		err := fmt.Errorf("the token service at %s answered %s", req.URL.Host, resp.Status)
		if resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests {
			return backoff.Permanent(err)
		}
		return err
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("the token service at %s gave an answer that is not its own", req.URL.Host)
	}
	return nil
}

// withoutURL is the cause of a failed request: the address may hold what is not
// for a log.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// withoutBody is err without what the server sent, of which go-oidc puts all into
// its errors.
func withoutBody(err error) error {
	err = withoutURL(err)
	first, _, _ := strings.Cut(err.Error(), "\n")
	if status, _, ok := strings.Cut(first, ": "); ok && len(status) < 100 && strings.Contains(first, "{") {
		first = status
	}
	return errors.New(first[:min(len(first), 300)])
}

// bounded is a client that reads no answer beyond a limit and takes no redirect,
// since a redirect would carry a token to a place that nobody named.
func bounded(c *http.Client) *http.Client {
	if c == nil {
		c = &http.Client{Timeout: 20 * time.Second}
	}
	copied := *c
	transport := c.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	copied.Transport = limited{transport}
	copied.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &copied
}

type limited struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	return resp, nil
}
