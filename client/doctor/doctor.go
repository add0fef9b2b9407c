// Package doctor says what temper would use on this machine, what is missing,
// and how to mend it.
package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/docker/go-units"
	"github.com/temper-images/temper/client/builder"
	"github.com/temper-images/temper/client/frontend"
)

// Status is the verdict on one thing.
type Status string

// The verdicts.
const (
	OK      Status = "ok"
	Missing Status = "missing"
	Note    Status = "note"
)

// Finding is one thing that was looked at.
type Finding struct {
	Group  string `json:"group"`
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Detail says what was found.
	Detail string `json:"detail,omitempty"`
	// Fix says how to mend it.
	Fix string `json:"fix,omitempty"`
}

// Diagnosis is everything that was found.
type Diagnosis struct {
	// Healthy says that temper build can work here.
	Healthy bool `json:"healthy"`
	// Builder and Frontend are what temper build would use, if anything.
	Builder  string    `json:"builder,omitempty"`
	Frontend string    `json:"frontend,omitempty"`
	Findings []Finding `json:"findings"`
}

// Examine looks at everything. It starts nothing.
func Examine(ctx context.Context, bo builder.Options, fo frontend.Options) *Diagnosis {
	d := &Diagnosis{}
	d.builders(ctx, bo)
	d.ownDaemon(bo)
	d.frontend(ctx, fo)
	d.credentials()
	d.Healthy = d.Builder != "" && d.Frontend != ""
	return d
}

func (d *Diagnosis) add(group, name string, status Status, detail, fix string) {
	d.Findings = append(d.Findings, Finding{Group: group, Name: name, Status: status, Detail: detail, Fix: fix})
}

func (d *Diagnosis) builders(ctx context.Context, o builder.Options) {
	const group = "builders, in the order in which they are tried"
	for _, c := range builder.Probe(ctx, o) {
		name := fmt.Sprintf("%s at %s", c.Kind, c.Address)
		if c.Err != nil {
			fix := ""
			if c.Kind == builder.KindNamed {
				fix = "start it, or name another with --builder or BUILDKIT_HOST"
			}
			d.add(group, name, Note, firstLine(c.Err), fix)
			continue
		}
		detail := "can be started"
		if c.Version != "" {
			detail = "answers, BuildKit " + c.Version
		}
		if d.Builder == "" {
			d.Builder = name
			detail += "; this one would be used"
		}
		d.add(group, name, OK, detail, "")
	}
	if d.Builder == "" {
		d.add(group, "a builder", Missing, "none of these can be used", "meet the requirements below, or name a builder with --builder or BUILDKIT_HOST")
	}
}

func (d *Diagnosis) ownDaemon(o builder.Options) {
	const group = "a buildkitd of temper's own"
	for _, r := range o.Daemon.Requirements() {
		if r.Found == "" {
			// It only matters when there is no other builder.
			status := Missing
			if d.Builder != "" {
				status = Note
			}
			d.add(group, r.Name, status, "missing", r.Fix)
			continue
		}
		d.add(group, r.Name, OK, r.Found, "")
	}
	dir, err := o.Daemon.Dir()
	if err != nil {
		d.add(group, "state directory", Missing, err.Error(), "")
		return
	}
	existing := dir
	for existing != "/" {
		if _, err := os.Stat(existing); err == nil {
			break
		}
		existing = filepath.Dir(existing)
	}
	d.space(group, dir, existing)
	d.overlay(group, existing)
}

// lowSpace is how much a build usually needs, in bytes.
const lowSpace = 2 << 30

func (d *Diagnosis) space(group, dir, existing string) {
	free, err := freeSpace(existing)
	switch {
	case err != nil:
		d.add(group, "disk space", Note, fmt.Sprintf("%s: %v", dir, err), "")
	case free < lowSpace:
		d.add(group, "disk space", Note, fmt.Sprintf("only %s free for %s", units.BytesSize(float64(free)), dir), "free some, or choose another place with --state-dir")
	default:
		d.add(group, "disk space", OK, fmt.Sprintf("%s free for %s", units.BytesSize(float64(free)), dir), "")
	}
}

func (d *Diagnosis) overlay(group, existing string) {
	if os.Geteuid() != 0 {
		d.add(group, "overlayfs", Note, "is tried when buildkitd starts; without it files are copied, which is slower", "")
		return
	}
	if err := overlaySupported(existing); err != nil {
		d.add(group, "overlayfs", Note, fmt.Sprintf("not usable in %s, so files are copied, which is slower: %v", existing, err), "choose a directory on ext4, xfs or btrfs with --state-dir")
		return
	}
	d.add(group, "overlayfs", OK, "usable in "+existing, "")
}

func (d *Diagnosis) frontend(ctx context.Context, o frontend.Options) {
	const group = "frontend"
	f, err := frontend.Locate(ctx, o)
	if err != nil {
		d.add(group, "Temper frontend", Missing, err.Error(), "run make build, or name one with --frontend or "+frontend.Env)
		return
	}
	d.Frontend = f.Ref
	detail := f.Origin
	if f.Version != "" {
		detail += ", version " + f.Version
	}
	if f.Digest != "" {
		detail += ", " + f.Digest.String()
	}
	d.add(group, f.Ref, OK, detail, "")
}

func (d *Diagnosis) credentials() {
	const group = "registry credentials"
	path := filepath.Join(config.Dir(), config.ConfigFileName)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		d.add(group, path, Note, "does not exist, so registries are asked without credentials", "docker login, if a registry wants them")
		return
	}
	cf, err := config.Load(config.Dir())
	if err != nil {
		d.add(group, path, Note, err.Error(), "mend or remove the file")
		return
	}
	var parts []string
	parts = append(parts, fmt.Sprintf("%d registries", len(cf.AuthConfigs)))
	if cf.CredentialsStore != "" {
		parts = append(parts, "credential store "+cf.CredentialsStore)
	}
	if n := len(cf.CredentialHelpers); n > 0 {
		parts = append(parts, fmt.Sprintf("%d credential helpers", n))
	}
	d.add(group, path, OK, strings.Join(parts, ", "), "")
}

func firstLine(err error) string {
	line, rest, _ := strings.Cut(err.Error(), "\n")
	if rest != "" {
		line = strings.TrimSuffix(line, ":") + " (see below)"
	}
	return line
}

// WriteJSON prints the diagnosis for programs.
func (d *Diagnosis) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(d)
}

// Write prints the diagnosis for people.
func (d *Diagnosis) Write(w io.Writer) error {
	var b strings.Builder
	group := ""
	for _, f := range d.Findings {
		if f.Group != group {
			group = f.Group
			fmt.Fprintf(&b, "\n%s:\n", group)
		}
		fmt.Fprintf(&b, "  %-8s %s", f.Status, f.Name)
		if f.Detail != "" {
			fmt.Fprintf(&b, ": %s", f.Detail)
		}
		b.WriteString("\n")
		if f.Fix != "" {
			fmt.Fprintf(&b, "           fix: %s\n", f.Fix)
		}
	}
	if d.Healthy {
		fmt.Fprintf(&b, "\ntemper build works here, on %s.\n", d.Builder)
	} else {
		b.WriteString("\ntemper build does not work here yet: mend what is marked as missing.\n")
	}
	_, err := io.WriteString(w, strings.TrimPrefix(b.String(), "\n"))
	return err
}
