// Package kyverno has the command line of Kyverno judge pods whose images were
// published, by the policies of examples/policies. .ci/kyverno builds it.
package kyverno

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/temper-images/temper/integration/tools"
)

// limit bounds one run of Kyverno.
const limit = time.Minute

// exampleKey is the key that the policies of the examples have.
var exampleKey = regexp.MustCompile(`( *)-----BEGIN PUBLIC KEY-----\n.*\n *-----END PUBLIC KEY-----`)

// The names of the policies, and what stands in them for what users put there.
const (
	Bundle                = "bundle"
	Cosign                = "cosign"
	ImageValidatingPolicy = "imagevalidatingpolicy"

	images  = "registry.example.com/*"
	builder = "https://github.com/example/"
)

// Policies writes the policies of the examples into dir, for images of any registry
// on loopback that the key in the file public signed and whose builder's identity
// begins so; an empty one stays that of the examples. It returns their files by name.
func Policies(dir, public, builtBy string) (map[string]string, error) {
	key, err := os.ReadFile(public)
	if err != nil {
		return nil, err
	}
	if builtBy == "" {
		builtBy = builder
	}
	made := map[string]string{}
	for _, name := range []string{Bundle, Cosign, ImageValidatingPolicy} {
		file := "kyverno-" + name + ".yaml"
		data, err := os.ReadFile(filepath.Join(tools.Root(), "examples", "policies", file))
		if err != nil {
			return nil, err
		}
		text := string(data)
		for _, part := range []string{images, builder} {
			if !strings.Contains(text, part) {
				return nil, fmt.Errorf("%s has no %s", file, part)
			}
		}
		if !exampleKey.MatchString(text) {
			return nil, fmt.Errorf("%s has no place for a key", file)
		}
		text = exampleKey.ReplaceAllStringFunc(text, func(s string) string {
			indent := exampleKey.FindStringSubmatch(s)[1]
			return indent + strings.ReplaceAll(strings.TrimSpace(string(key)), "\n", "\n"+indent)
		})
		text = strings.NewReplacer(images, "127.0.0.1:*/*", builder, builtBy).Replace(text)
		made[name] = filepath.Join(dir, file)
		if err := os.WriteFile(made[name], []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// judgement is the last line of what Kyverno says.
var judgement = regexp.MustCompile(`pass: (\d+), fail: (\d+), warn: 0, error: 0, skip: 0`)

// Apply says whether the policy in a file lets in a pod with an image, and what
// Kyverno says. It fails when Kyverno does not judge: a policy that does not match
// would let in everything.
func Apply(ctx context.Context, policy, image string) (accepted bool, said string, err error) {
	dir, err := os.MkdirTemp("", "temper-kyverno-")
	if err != nil {
		return false, "", err
	}
	defer os.RemoveAll(dir)
	pod := filepath.Join(dir, "pod.yaml")
	text := "apiVersion: v1\nkind: Pod\nmetadata: {name: app, namespace: default}\nspec:\n  containers:\n    - {name: app, image: \"" + image + "\"}\n"
	if err := os.WriteFile(pod, []byte(text), 0o600); err != nil {
		return false, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, tools.Path("kyverno"), "apply", policy, "--resource", pod, "--registry")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return false, "", fmt.Errorf("kyverno apply: %w: run .ci/kyverno", err)
	}
	result := judgement.FindStringSubmatch(string(out))
	if ctx.Err() != nil || result == nil || (result[1] == "0") == (result[2] == "0") || (err == nil) != (result[2] == "0") {
		return false, "", fmt.Errorf("kyverno apply %s does not judge %s: %w: %s", policy, image, errors.Join(err, ctx.Err()), out)
	}
	return err == nil, string(out), nil
}
