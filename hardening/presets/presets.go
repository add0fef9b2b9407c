// Package presets holds sets of rules for applications that need more than can
// be seen in their files. They are data: one YAML file for each preset, named
// after it.
package presets

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/goccy/go-yaml"
)

//go:embed data/*.yaml
var data embed.FS

// Preset is a set of rules. A rule of it that matches nothing is no error: it
// serves another version or another distribution.
type Preset struct {
	// Name is what temper.yaml calls it.
	Name string `yaml:"-"`
	// Description is a noun phrase in lower case: what the preset is for.
	Description string `yaml:"description"`
	// Keep names the application itself, With what it uses of other packages, and
	// Remove what of it no one uses, all in the forms of spec.Settings.Keep.
	Keep   []string `yaml:"keep"`
	With   []string `yaml:"with"`
	Remove []string `yaml:"remove"`
	// Locales are kept besides those that the user names.
	Locales []string `yaml:"locales"`
	// Writable are directories that the image's user must own where they exist.
	Writable []string `yaml:"writable"`
}

// Names returns the names of all presets, sorted.
func Names() []string {
	files, err := data.ReadDir("data")
	if err != nil {
		return nil // The embedded directory is always there.
	}
	names := make([]string, 0, len(files))
	for _, f := range files {
		names = append(names, strings.TrimSuffix(f.Name(), ".yaml"))
	}
	slices.Sort(names)
	return names
}

// Load returns a preset. The error says which there are when there is none of
// that name.
func Load(name string) (*Preset, error) {
	if !slices.Contains(Names(), name) {
		return nil, fmt.Errorf("preset %q is not known; there are %s", name, strings.Join(Names(), ", "))
	}
	dt, err := data.ReadFile("data/" + name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("read preset %s: %w", name, err)
	}
	return parse(name, dt)
}

// parse reads a preset strictly: what it does not understand is an error.
func parse(name string, dt []byte) (*Preset, error) {
	p := &Preset{Name: name}
	dec := yaml.NewDecoder(bytes.NewReader(dt), yaml.Strict())
	if err := dec.Decode(p); err != nil {
		return nil, fmt.Errorf("read preset %s: %w", name, err)
	}
	if err := dec.Decode(&Preset{}); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read preset %s: it holds more than one document", name)
	}
	if p.Description == "" || len(p.Keep) == 0 {
		return nil, fmt.Errorf("read preset %s: it needs a description and something to keep", name)
	}
	for _, rule := range slices.Concat(p.Keep, p.With, p.Remove) {
		if msg := CheckRule(rule); msg != "" {
			return nil, fmt.Errorf("read preset %s: %q %s", name, rule, msg)
		}
	}
	for _, dir := range p.Writable {
		if !path.IsAbs(dir) || path.Clean(dir) != dir || dir == "/" {
			return nil, fmt.Errorf("read preset %s: %q is no directory that may be written", name, dir)
		}
	}
	return p, nil
}

// packageName is what a package may be called in all distributions, with the
// signs of a pattern.
var packageName = regexp.MustCompile(`^[A-Za-z0-9*?\[][A-Za-z0-9.+_*?\[\]^-]*$`)

// CheckRule says what is wrong with the form of a rule: a path or glob,
// "package:NAME" or "soname:NAME"; "" when nothing is.
func CheckRule(rule string) string {
	if name, ok := strings.CutPrefix(rule, "package:"); ok {
		if _, err := path.Match(name, ""); err != nil || !packageName.MatchString(name) {
			return "names no package: it must be package:NAME, where * stands for any characters"
		}
		return ""
	}
	if name, ok := strings.CutPrefix(rule, "soname:"); ok {
		if _, err := path.Match(name, ""); err != nil || name == "" || strings.ContainsAny(name, "/\x00\n") {
			return "names no library: it must be soname:NAME, such as soname:libz.so.1"
		}
		return ""
	}
	switch {
	case !strings.HasPrefix(rule, "/"):
		return "is not absolute: it must begin with /, package: or soname:"
	case strings.ContainsRune(rule, 0):
		return "holds a NUL byte"
	case strings.Contains(rule, "/../") || strings.HasSuffix(rule, "/.."):
		return "must not hold \"..\""
	case !doublestar.ValidatePattern(rule):
		return "is not a glob that can be read (a \"[\", \"{\" or \"\\\" is not closed)"
	}
	return ""
}
