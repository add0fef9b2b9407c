package ci

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// github is GitHub Actions, in the cloud and on servers of one's own
// (docs.github.com, "Variables reference" and "OpenID Connect reference").
type github struct{}

const (
	githubServer = "https://github.com"
	githubIssuer = "https://token.actions.githubusercontent.com"
)

func (github) recognise(e env) bool { return e.get("GITHUB_ACTIONS") == "true" }

func (github) server(e env) string {
	if s := strings.TrimRight(e.get("GITHUB_SERVER_URL"), "/"); s != "" {
		return s
	}
	return githubServer
}

func (g github) facts(e env, f *collector) {
	server, repository := g.server(e), e.get("GITHUB_REPOSITORY")
	if repository != "" {
		f.repository(server + "/" + repository)
	}
	f.commit(e.get("GITHUB_SHA"))
	f.put(FactRef, e.get("GITHUB_REF"))
	workflow := e.get("GITHUB_WORKFLOW_REF")
	g.workflow(workflow, f)
	f.put(FactTrigger, e.get("GITHUB_EVENT_NAME"))
	f.put(FactRunner, githubRunner(e.get("RUNNER_ENVIRONMENT")))
	g.run(server, repository, e.get("GITHUB_RUN_ID"), e.get("GITHUB_RUN_ATTEMPT"), f)
	if workflow != "" {
		f.url(FactBuilder, server+"/"+workflow)
	}
}

func (g github) claims(e env, c claims, f *collector) {
	server := g.server(e)
	f.repository(server + "/" + clean(c.Repository))
	f.commit(c.SHA)
	f.put(FactRef, clean(c.Ref))
	g.workflow(clean(c.WorkflowRef), f)
	f.put(FactTrigger, clean(c.EventName))
	f.put(FactRunner, githubRunner(c.RunnerEnvironment))
	g.run(server, c.Repository, clean(c.RunID), clean(c.RunAttempt), f)
	// The workflow that holds the job: the called one when the job is in a
	// reusable workflow.
	builder := c.JobWorkflowRef
	if builder == "" {
		builder = c.WorkflowRef
	}
	if builder != "" {
		f.url(FactBuilder, server+"/"+clean(builder))
	}
}

// workflow takes the path out of "team/app/.github/workflows/release.yml@refs/heads/main".
func (github) workflow(ref string, f *collector) {
	if parts := strings.SplitN(ref, "/", 3); len(parts) == 3 {
		path, _, _ := strings.Cut(parts[2], "@")
		f.put(FactWorkflow, path)
	}
}

func (github) run(server, repository, id, attempt string, f *collector) {
	f.put(FactRunID, id)
	f.put(FactAttempt, attempt)
	if id == "" || repository == "" {
		return
	}
	run := server + "/" + repository + "/actions/runs/" + id
	if attempt != "" {
		run += "/attempts/" + attempt
	}
	f.url(FactRunURL, run)
}

func githubRunner(v string) string {
	switch v {
	case "github-hosted":
		return Hosted
	case "self-hosted":
		return SelfHosted
	}
	return ""
}

func (g github) token(ctx context.Context, e env, t *tokens) (string, string, error) {
	address, secret := e.secret("ACTIONS_ID_TOKEN_REQUEST_URL"), e.secret("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
	if address == "" || secret == "" {
		return "", "", nil
	}
	if t.issuer == "" && (e.get("GITEA_ACTIONS") != "" || e.get("FORGEJO_ACTIONS") != "") {
		// They take GitHub's variables, and have issuers of their own.
		return "", "", nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", "", fmt.Errorf("ACTIONS_ID_TOKEN_REQUEST_URL is not a URL")
	}
	q := u.Query()
	q.Set("audience", t.audience)
	u.RawQuery = q.Encode()
	var answer struct {
		Value string `json:"value"`
	}
	if err := t.ask(ctx, http.MethodGet, u.String(), "Bearer "+secret, "", &answer); err != nil {
		return "", "", err
	}
	if answer.Value == "" {
		return "", "", fmt.Errorf("the token service at %s gave none", u.Host)
	}
	issuer := githubIssuer
	if s := g.server(e); s != githubServer {
		issuer = s + "/_services/token"
	}
	return answer.Value, issuer, nil
}
