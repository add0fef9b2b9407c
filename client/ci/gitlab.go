package ci

import (
	"context"
	"strings"
)

// gitlab is GitLab CI (docs.gitlab.com, "Predefined CI/CD variables reference" and
// "OpenID Connect (OIDC) authentication using ID tokens").
type gitlab struct{}

// gitlabToken is the variable that a job asks for under id_tokens:, with the
// audience that Options name.
const gitlabToken = "TEMPER_ID_TOKEN"

func (gitlab) recognise(e env) bool { return e.get("GITLAB_CI") == "true" }

func (gitlab) server(e env) string { return strings.TrimRight(e.get("CI_SERVER_URL"), "/") }

func (g gitlab) facts(e env, f *collector) {
	project := e.get("CI_PROJECT_URL")
	f.repository(project)
	f.commit(e.get("CI_COMMIT_SHA"))
	if tag := e.get("CI_COMMIT_TAG"); tag != "" {
		f.put(FactRef, "refs/tags/"+tag)
	} else if branch := e.get("CI_COMMIT_REF_NAME"); branch != "" {
		f.put(FactRef, "refs/heads/"+branch)
	}
	f.put(FactWorkflow, e.get("CI_CONFIG_PATH"))
	f.put(FactRunID, e.get("CI_PIPELINE_ID"))
	f.put(FactAttempt, e.get("CI_JOB_ID"))
	f.url(FactRunURL, e.get("CI_JOB_URL"))
	f.put(FactTrigger, e.get("CI_PIPELINE_SOURCE"))
	// Nothing in the environment tells a runner that GitLab hosts from one's own;
	// the token does.
	if project != "" && f.Workflow != "" {
		f.url(FactBuilder, project+"//"+f.Workflow+at(f.Ref))
	}
}

func at(ref string) string {
	if ref == "" {
		return ""
	}
	return "@" + ref
}

func (g gitlab) claims(e env, c claims, f *collector) {
	server, project := g.server(e), clean(c.ProjectPath)
	f.repository(server + "/" + project)
	f.commit(c.SHA)
	f.put(FactRef, clean(c.RefPath))
	// "gitlab.example.com/team/app//.gitlab-ci.yml@refs/heads/main"
	config := clean(c.ConfigRefURI)
	if _, rest, ok := strings.Cut(config, "//"); ok {
		path, _, _ := strings.Cut(rest, "@")
		f.put(FactWorkflow, path)
		f.url(FactBuilder, "https://"+config)
	}
	f.put(FactRunID, clean(c.PipelineID))
	f.put(FactAttempt, clean(c.JobID))
	if project != "" && c.JobID != "" {
		f.url(FactRunURL, server+"/"+project+"/-/jobs/"+clean(c.JobID))
	}
	f.put(FactTrigger, clean(c.PipelineSource))
	switch c.RunnerEnvironment {
	case "gitlab-hosted":
		f.put(FactRunner, Hosted)
	case "self-hosted":
		f.put(FactRunner, SelfHosted)
	}
}

func (g gitlab) token(_ context.Context, e env, _ *tokens) (string, string, error) {
	return e.secret(gitlabToken), g.server(e), nil
}
