package imagediff

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/temper-images/temper/client/examine"
	"github.com/temper-images/temper/client/secretname"
	"github.com/temper-images/temper/hardening/spec"
)

// packages compares the packages of two images.
func packages(a, b *examine.Image) []Package {
	type key struct{ kind, name, arch string }
	found := map[key]*Package{}
	for side, img := range []*examine.Image{a, b} {
		for _, p := range img.Packages {
			k := key{p.Type, p.Name, p.Arch}
			d := found[k]
			if d == nil {
				d = &Package{Type: p.Type, Name: p.Name, Arch: p.Arch}
				found[k] = d
			}
			versions := &d.Before
			if side == 1 {
				versions = &d.After
			}
			// Packages are sorted, and an image may have one several times.
			if n := len(*versions); n == 0 || (*versions)[n-1] != p.Version {
				*versions = append(*versions, p.Version)
			}
		}
	}
	var out []Package
	for _, d := range found {
		switch {
		case slices.Equal(d.Before, d.After):
			continue
		case len(d.Before) == 0:
			d.Change, d.Why = Added, whyGone(a.Report, d)
		case len(d.After) == 0:
			d.Change, d.Why = Removed, whyGone(b.Report, d)
		default:
			d.Change = Changed
		}
		out = append(out, *d)
	}
	slices.SortFunc(out, func(x, y Package) int {
		return cmp.Or(cmp.Compare(x.Type, y.Type), cmp.Compare(x.Name, y.Name), cmp.Compare(x.Arch, y.Arch))
	})
	return out
}

// whyGone is what a hardening report says of a package that it removed.
func whyGone(r *spec.Report, d *Package) string {
	if r == nil {
		return ""
	}
	for _, p := range r.Packages {
		if p.Type == d.Type && p.Name == d.Name && p.Arch == d.Arch && p.State == spec.PackageRemoved {
			return p.Why
		}
	}
	return ""
}

// Setting is a part of the configuration that is not the same in both images.
type Setting struct {
	// Name is the field's name as in image-spec v1.1 (config.md), with the variable,
	// label, port or volume behind it: "User", "Env PATH".
	Name   string `json:"name"`
	Change Change `json:"change"`
	// Before and After are the values: words as they are, lists as JSON.
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	// Withheld says that the values are not shown since the name is one of a secret.
	Withheld bool `json:"withheld,omitempty"`
}

// settings compares two configurations.
func settings(a, b *v1.ConfigFile) []Setting {
	before, after := flatten(a), flatten(b)
	names := map[string]bool{}
	for n := range before {
		names[n] = true
	}
	for n := range after {
		names[n] = true
	}
	var out []Setting
	for n := range names {
		x, inA := before[n]
		y, inB := after[n]
		s := Setting{Name: n, Before: x, After: y}
		switch {
		case inA && inB && x == y:
			continue
		case !inA:
			s.Change = Added
		case !inB:
			s.Change = Removed
		default:
			s.Change = Changed
		}
		if kind, name, ok := strings.Cut(n, " "); ok && (kind == "Env" || kind == "Label") && secretname.Likely(name) {
			s.Before, s.After, s.Withheld = "", "", true
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(x, y Setting) int { return strings.Compare(x.Name, y.Name) })
	return out
}

// flatten are the settings of a configuration by name. What has no value is left
// out, for builders differ in whether they write it.
func flatten(f *v1.ConfigFile) map[string]string {
	out := map[string]string{}
	word := func(name, value string) {
		if value != "" {
			out[name] = value
		}
	}
	list := func(name string, value []string) {
		if len(value) > 0 {
			out[name] = listed(value)
		}
	}
	c := f.Config
	word("Platform", strings.TrimSuffix(f.OS+"/"+f.Architecture+"/"+f.Variant, "/"))
	word("User", c.User)
	word("WorkingDir", c.WorkingDir)
	word("StopSignal", c.StopSignal)
	list("Entrypoint", c.Entrypoint)
	list("Cmd", c.Cmd)
	list("Shell", c.Shell)
	list("OnBuild", c.OnBuild)
	if h := c.Healthcheck; h != nil {
		list("Healthcheck", h.Test)
		for _, t := range []struct {
			name  string
			value fmt.Stringer
			zero  bool
		}{{"Interval", h.Interval, h.Interval == 0}, {"Timeout", h.Timeout, h.Timeout == 0}, {"StartPeriod", h.StartPeriod, h.StartPeriod == 0}} {
			if !t.zero {
				out["Healthcheck "+t.name] = t.value.String()
			}
		}
		if h.Retries != 0 {
			out["Healthcheck Retries"] = fmt.Sprint(h.Retries)
		}
	}
	for _, kv := range c.Env {
		k, v, _ := strings.Cut(kv, "=")
		out["Env "+k] = v
	}
	for k, v := range c.Labels {
		out["Label "+k] = v
	}
	for k := range c.ExposedPorts {
		out["Port "+k] = "exposed"
	}
	for k := range c.Volumes {
		out["Volume "+k] = "declared"
	}
	return out
}

// listed writes a list of words so that their borders are seen.
func listed(words []string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(words); err != nil {
		return strings.Join(words, " ") // strings cannot fail
	}
	return strings.TrimSpace(b.String())
}
