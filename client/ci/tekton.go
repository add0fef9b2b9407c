package ci

import (
	"bufio"
	"context"
	"io"
	"os"
	"strconv"
	"strings"
)

// tekton is Tekton Pipelines. Its steps get no variables of their own: what is
// known of a run are the labels and annotations of its pod (tekton.dev, "Labels and
// Annotations"), which a task mounts as files with a downward API volume. Runs that
// Pipelines-as-Code starts say there what they are for. Everything else is told with
// TEMPER_CI_ variables.
type tekton struct{}

const (
	// podInfo is where Kubernetes' own documentation mounts the files.
	podInfo = "/etc/podinfo"
	// maxPodInfo bounds each file, in bytes. Kubernetes allows 256 KiB of
	// annotations.
	maxPodInfo = 1 << 20

	pacPrefix = "pipelinesascode.tekton.dev/"
)

func (t tekton) recognise(e env) bool {
	return e.get("TEMPER_CI") == string(Tekton) || t.labels(e)["tekton.dev/taskRun"] != ""
}

func (tekton) labels(e env) map[string]string      { return podFile(e, "labels") }
func (tekton) annotations(e env) map[string]string { return podFile(e, "annotations") }

// podFile reads a file of the downward API volume; TEMPER_CI_PODINFO names
// another directory.
func podFile(e env, name string) map[string]string {
	dir := e.get("TEMPER_CI_PODINFO")
	if dir == "" {
		dir = podInfo
	}
	f, err := os.Open(dir + "/" + name)
	if err != nil {
		return nil
	}
	defer f.Close()
	return parsePodInfo(f)
}

// parsePodInfo reads lines of key="value" with Go's escapes, as the downward API
// writes them (kubernetes.io, "Downward API"). Lines of another form are skipped.
func parsePodInfo(r io.Reader) map[string]string {
	out := map[string]string{}
	lines := bufio.NewScanner(io.LimitReader(r, maxPodInfo))
	lines.Buffer(nil, maxPodInfo)
	for lines.Scan() {
		key, quoted, ok := strings.Cut(lines.Text(), "=")
		if !ok {
			continue
		}
		if value, err := strconv.Unquote(quoted); err == nil {
			out[key] = clean(value)
		}
	}
	return out
}

func (t tekton) facts(e env, f *collector) {
	labels, annotations := t.labels(e), t.annotations(e)
	pac := func(name string) string {
		if v := annotations[pacPrefix+name]; v != "" {
			return v
		}
		return labels[pacPrefix+name]
	}
	f.repository(pac("repo-url"))
	f.commit(pac("sha"))
	if branch := pac("branch"); strings.HasPrefix(branch, "refs/") {
		f.put(FactRef, branch)
	} else if branch != "" {
		f.put(FactRef, "refs/heads/"+branch)
	}
	f.put(FactTrigger, pac("event-type"))
	f.url(FactRunURL, pac("log-url"))
	for _, name := range []string{"tekton.dev/pipeline", "tekton.dev/task"} {
		f.put(FactWorkflow, labels[name])
	}
	for _, name := range []string{"tekton.dev/pipelineRunUID", "tekton.dev/pipelineRun", "tekton.dev/taskRunUID", "tekton.dev/taskRun"} {
		f.put(FactRunID, labels[name])
	}
	f.put(FactRunner, SelfHosted)
}

func (tekton) claims(env, claims, *collector) {}

func (tekton) token(context.Context, env, *tokens) (string, string, error) { return "", "", nil }
