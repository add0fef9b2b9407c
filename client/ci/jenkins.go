package ci

import (
	"context"
	"strings"
)

// jenkins is Jenkins (jenkins.io, "Using environment variables"; the Git plugin's
// and the Branch API plugin's variables). It signs no tokens.
type jenkins struct{}

func (jenkins) recognise(e env) bool {
	return e.get("JENKINS_URL") != "" && e.get("BUILD_NUMBER") != ""
}

func (jenkins) facts(e env, f *collector) {
	f.repository(e.get("GIT_URL"))
	f.commit(e.get("GIT_COMMIT"))
	switch tag, branch := e.get("TAG_NAME"), e.get("GIT_LOCAL_BRANCH"); {
	case tag != "":
		f.put(FactRef, "refs/tags/"+tag)
	case branch != "":
		f.put(FactRef, "refs/heads/"+branch)
	default:
		// The Git plugin's name of the branch has the remote's name in front.
		_, name, ok := strings.Cut(e.get("GIT_BRANCH"), "/")
		if ok && name != "" {
			f.put(FactRef, "refs/heads/"+name)
		}
	}
	f.put(FactWorkflow, e.get("JOB_NAME"))
	f.put(FactRunID, e.get("BUILD_NUMBER"))
	f.url(FactRunURL, e.get("BUILD_URL"))
	f.put(FactRunner, SelfHosted)
	switch {
	case e.get("CHANGE_ID") != "":
		f.put(FactTrigger, "pull_request")
	default:
		f.put(FactTrigger, e.get("BUILD_CAUSE"))
	}
	f.url(FactBuilder, e.get("JOB_URL"))
}

func (jenkins) claims(env, claims, *collector) {}

func (jenkins) token(context.Context, env, *tokens) (string, string, error) { return "", "", nil }
