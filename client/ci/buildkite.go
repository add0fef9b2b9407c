package ci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// buildkite is Buildkite (buildkite.com/docs, "Environment variables" and
// "OIDC with Buildkite").
type buildkite struct{}

const (
	buildkiteServer   = "https://buildkite.com"
	buildkiteIssuer   = "https://agent.buildkite.com"
	buildkiteEndpoint = "https://agent.buildkite.com/v3"
)

func (buildkite) recognise(e env) bool { return e.get("BUILDKITE") == "true" }

func (b buildkite) facts(e env, f *collector) {
	f.repository(e.get("BUILDKITE_REPO"))
	f.commit(e.get("BUILDKITE_COMMIT"))
	b.ref(e.get("BUILDKITE_BRANCH"), e.get("BUILDKITE_TAG"), f)
	f.put(FactTrigger, e.get("BUILDKITE_SOURCE"))
	b.run(e.get("BUILDKITE_ORGANIZATION_SLUG"), e.get("BUILDKITE_PIPELINE_SLUG"), e.get("BUILDKITE_BUILD_NUMBER"), f)
	f.put(FactAttempt, e.get("BUILDKITE_RETRY_COUNT"))
	switch e.get("BUILDKITE_COMPUTE_TYPE") {
	case "hosted":
		f.put(FactRunner, Hosted)
	case "self-hosted":
		f.put(FactRunner, SelfHosted)
	}
}

func (b buildkite) claims(_ env, c claims, f *collector) {
	f.commit(c.BuildCommit)
	b.ref(clean(c.BuildBranch), clean(c.BuildTag), f)
	f.put(FactTrigger, clean(c.BuildSource))
	b.run(clean(c.Organization), clean(c.Pipeline), clean(c.BuildNumber.String()), f)
	switch c.RunnerEnvironment {
	case "buildkite-hosted":
		f.put(FactRunner, Hosted)
	case "self-hosted":
		f.put(FactRunner, SelfHosted)
	}
}

func (buildkite) ref(branch, tag string, f *collector) {
	switch {
	case tag != "":
		f.put(FactRef, "refs/tags/"+tag)
	case branch != "":
		f.put(FactRef, "refs/heads/"+branch)
	}
}

func (buildkite) run(organization, pipeline, number string, f *collector) {
	f.put(FactWorkflow, pipeline)
	f.put(FactRunID, number)
	if organization == "" || pipeline == "" {
		return
	}
	base := buildkiteServer + "/" + organization + "/" + pipeline
	f.url(FactBuilder, base)
	if number != "" {
		f.url(FactRunURL, base+"/builds/"+number)
	}
}

func (buildkite) token(ctx context.Context, e env, t *tokens) (string, string, error) {
	secret, job := e.secret("BUILDKITE_AGENT_ACCESS_TOKEN"), e.get("BUILDKITE_JOB_ID")
	if secret == "" || job == "" {
		return "", "", nil
	}
	endpoint := strings.TrimRight(e.get("BUILDKITE_AGENT_ENDPOINT"), "/")
	if endpoint == "" {
		endpoint = buildkiteEndpoint
	}
	body, err := json.Marshal(map[string]string{"audience": t.audience})
	if err != nil {
		return "", "", fmt.Errorf("encode the request: %w", err)
	}
	var answer struct {
		Token string `json:"token"`
	}
	err = t.ask(ctx, http.MethodPost, endpoint+"/jobs/"+url.PathEscape(job)+"/oidc/tokens", "Token "+secret, string(body), &answer)
	if err != nil {
		return "", "", err
	}
	if answer.Token == "" {
		return "", "", errors.New("the agent's service gave none")
	}
	return answer.Token, buildkiteIssuer, nil
}
