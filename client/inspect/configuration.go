package inspect

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/temper-images/temper/client/inspect/secrets"
	"github.com/temper-images/temper/client/secretname"
)

// configuration judges the image's configuration (image-spec v1.1, config.md).
func (in *inspection) configuration() {
	c := in.cfg.Config
	field := func(rule, name, message string) { in.add(rule, Subject{Kind: ConfigField, Name: name}, "", message) }
	if len(c.Entrypoint) == 0 && len(c.Cmd) == 0 {
		field(ruleNoCommand, "Entrypoint", "the image has neither an entrypoint nor a command")
	}
	if c.Healthcheck == nil || len(c.Healthcheck.Test) == 0 || c.Healthcheck.Test[0] == "NONE" {
		field(ruleNoHealth, "Healthcheck", "the image has no health check")
	}
	if n := len(c.OnBuild); n > 0 {
		field(ruleOnBuild, "OnBuild", fmt.Sprintf("images that are built on this one run %d instructions of its", n))
	}
	for _, name := range sortedKeys(c.ExposedPorts) {
		number, _, _ := strings.Cut(name, "/")
		if n, err := strconv.Atoi(number); err == nil && 0 < n && n < 1024 {
			in.add(ruleLowPort, Subject{Kind: Port, Name: name}, "", fmt.Sprintf("port %s is exposed", show(name)))
		}
	}
	for _, name := range sortedKeys(c.Volumes) {
		if isSystem(name) {
			in.add(ruleVolume, Subject{Kind: Volume, Name: name}, "", fmt.Sprintf("the volume %s is a directory of the system", show(name)))
		}
	}
	in.searchPaths(c.Env)
	in.plainSecrets()
}

// systemDirs are directories that belong to the system with all that is below.
var systemDirs = []string{
	"/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/root", "/sbin", "/sys",
	"/usr/bin", "/usr/lib", "/usr/lib64", "/usr/sbin", "/var/run/docker.sock", "/run/docker.sock", "/run/containerd", "/var/lib/docker",
}

func isSystem(name string) bool {
	name = path.Clean("/" + name)
	if slices.Contains([]string{"/", "/usr", "/var", "/run", "/home", "/opt"}, name) {
		return true
	}
	return slices.ContainsFunc(systemDirs, func(d string) bool { return name == d || strings.HasPrefix(name, d+"/") })
}

// searchPaths judges the variables that say where programs and libraries are.
func (in *inspection) searchPaths(env []string) {
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		if value == "" || !slices.Contains([]string{"PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "NODE_PATH", "PERL5LIB", "RUBYLIB"}, name) {
			continue
		}
		if name == "LD_PRELOAD" {
			value = strings.ReplaceAll(value, " ", ":")
		}
		for dir := range strings.SplitSeq(value, ":") {
			s := Subject{Kind: Environment, Name: name}
			switch e, ok := in.fsys.Resolve(dir); {
			case dir == "" || !path.IsAbs(dir):
				in.add(ruleSearchPath, s, "", fmt.Sprintf("%s has %q, which is wherever the program was started", name, dir))
			case ok && e.Mode.Perm()&0o002 != 0:
				in.add(ruleSearchPath, s, "", fmt.Sprintf("%s has %s, which everybody can write", name, show(dir)))
			}
		}
	}
}

// plainSecrets finds secrets in the configuration: by what they are, and by what
// they are called.
func (in *inspection) plainSecrets() {
	c := in.cfg.Config
	for _, kv := range c.Env {
		name, value, _ := strings.Cut(kv, "=")
		in.value(Subject{Kind: Environment, Name: name}, name, value)
	}
	for _, name := range sortedKeys(c.Labels) {
		in.value(Subject{Kind: Label, Name: name}, name, c.Labels[name])
	}
	lists := []struct {
		name string
		args []string
	}{{"Entrypoint", c.Entrypoint}, {"Cmd", c.Cmd}, {"OnBuild", c.OnBuild}, {"Shell", c.Shell}}
	if c.Healthcheck != nil {
		lists = append(lists, struct {
			name string
			args []string
		}{"Healthcheck", c.Healthcheck.Test})
	}
	for _, l := range lists {
		in.words(Subject{Kind: ConfigField, Name: l.name}, strings.Join(l.args, "\n"))
	}
	for i, h := range in.cfg.History {
		s := Subject{Kind: History, Name: strconv.Itoa(i + 1)}
		in.words(s, in.withoutEnv(h))
		if addsURL.MatchString(h.CreatedBy) && !strings.Contains(h.CreatedBy, "--checksum=") {
			in.add(ruleAddURL, s, "", fmt.Sprintf("step %d of the history adds a URL without a checksum", i+1))
		}
	}
}

var addsURL = regexp.MustCompile(`(?i)^\s*(?:/bin/sh -c #\(nop\)\s+)?ADD\s+(?:--\S+\s+)*(?:file:\S+ )*https?://`)

// withoutEnv is what a step of the history says but for the variables that it
// sets: those are told of once, as variables.
func (in *inspection) withoutEnv(h v1.History) string {
	text := h.CreatedBy
	for _, kv := range in.cfg.Config.Env {
		if len(kv) > 8 {
			text = strings.ReplaceAll(text, kv, "")
		}
	}
	return text + "\n" + h.Comment + "\n" + h.Author
}

// value judges the value of a variable or a label.
func (in *inspection) value(s Subject, name, value string) {
	if in.text(s, name+"="+value) {
		return
	}
	if secretname.Likely(name) && isLiteral(value) {
		in.add(ruleSecretName, s, "", fmt.Sprintf("%s has a value, in the configuration that everybody can read who has the image", where(s)))
	}
}

// assignmentWord is NAME=VALUE or --name=value in a command. Values in quotes are
// taken to their end.
var assignmentWord = regexp.MustCompile(`(?:^|[\s'"|;(])-{0,2}([A-Za-z_][A-Za-z0-9_-]{0,100})[=\n]("[^"\n]*"|'[^'\n]*'|[^\s;|&"']+)`)

// words judges the words of a command.
func (in *inspection) words(s Subject, text string) {
	if in.text(s, text) {
		return
	}
	told := map[string]bool{}
	for _, m := range assignmentWord.FindAllStringSubmatch(text, 10_000) {
		name, value := m[1], strings.Trim(m[2], `"'`)
		if told[name] || !secretname.Likely(name) || !isLiteral(value) || strings.HasPrefix(value, "-") {
			continue
		}
		told[name] = true
		in.add(ruleSecretName, s, "", fmt.Sprintf("%s gives %s a value", where(s), show(name)))
	}
}

// urlPassword is a URL with a password in it (RFC 3986, section 3.2.1).
var urlPassword = regexp.MustCompile(`(?i)\b[a-z][a-z0-9+.-]{1,30}://[^\s/:@'"]{0,100}:([^\s/:@'"]{3,200})@`)

// detailURL is the kind of secret that urlPassword finds.
const detailURL = "url-password"

// text finds secrets by what they are. It says whether it found some.
func (in *inspection) text(s Subject, text string) bool {
	found := map[string]secrets.Finding{}
	for _, f := range in.finder.Find("", []byte(text)) {
		found[f.Rule] = f
	}
	if m := urlPassword.FindStringSubmatch(text); m != nil && isLiteral(m[1]) {
		found[detailURL] = secrets.Finding{Rule: detailURL}
	}
	// What looks like a secret without being of a known kind may as well be a
	// checksum: it counts when its name says that it is one.
	if !secretname.Likely(s.Name) {
		delete(found, secrets.Generic)
	}
	for _, detail := range sortedKeys(found) {
		in.put(Finding{
			Rule: ruleConfigSecret, Subject: s, Detail: detail, Fingerprint: found[detail].Fingerprint,
			Message: fmt.Sprintf("%s holds a secret (%s)", where(s), detail),
		})
	}
	return len(found) > 0
}

// isLiteral says that a value could be a secret, and is no reference to one, no
// placeholder and no setting.
func isLiteral(value string) bool {
	value = strings.Trim(strings.TrimSpace(value), `"'`)
	switch strings.ToLower(value) {
	case "", "true", "false", "yes", "no", "on", "off", "none", "null", "auto", "required", "optional", "disabled", "enabled":
		return false
	}
	if strings.ContainsAny(value[:1], "$/{<%") || strings.HasPrefix(value, "ref+") || strings.HasPrefix(value, "file:") || strings.HasPrefix(value, "./") {
		return false
	}
	return strings.Trim(value, "*") != "" && strings.Trim(value, "xX") != ""
}

// where names a subject in a message.
func where(s Subject) string {
	name := show(s.Name)
	switch s.Kind {
	case Environment:
		return "the variable " + name
	case Label:
		return "the label " + name
	case History:
		return "step " + name + " of the history"
	case ConfigField:
		return name + " of the configuration"
	case File:
		if s.Line > 0 {
			return name + " line " + strconv.Itoa(s.Line)
		}
	}
	return name
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
