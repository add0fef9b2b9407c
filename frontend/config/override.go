package config

import (
	"errors"
	"slices"
	"strings"

	"github.com/tonistiigi/go-csvvalue"
)

const (
	// ArgPrefix begins the name of every override.
	ArgPrefix = "TEMPER_"
	// buildArg begins the frontend option that carries a build argument.
	buildArg = "build-arg:"
)

// IsArg says whether a build argument is an override of temper.yaml and
// therefore none of the Dockerfile's own. The name is without "build-arg:".
func IsArg(name string) bool { return strings.HasPrefix(name, ArgPrefix) }

// ArgName is the build argument that overrides a field:
// "harden.level" is TEMPER_HARDEN_LEVEL.
func ArgName(field string) string {
	return ArgPrefix + strings.ToUpper(strings.ReplaceAll(field, ".", "_"))
}

// Override sets the fields that frontend options "build-arg:TEMPER_…" name and
// looks at no other option. A list is one line of comma separated values (RFC
// 4180 quoting), and replaces the list it overrides; an empty value empties it.
// It reports everything wrong at once, as joined *Error values, and then changes
// nothing.
func (c *Config) Override(opts map[string]string) error {
	args := map[string]string{}
	for k, v := range opts {
		if name, ok := strings.CutPrefix(k, buildArg); ok && IsArg(name) {
			args[name] = v
		}
	}
	return c.override("build argument ", args)
}

// OverrideEnv does for environment variables, in the form of os.Environ, what
// Override does for build arguments.
func (c *Config) OverrideEnv(environ []string) error {
	args := map[string]string{}
	for _, kv := range environ {
		if name, v, ok := strings.Cut(kv, "="); ok && IsArg(name) {
			args[name] = v
		}
	}
	return c.override("environment variable ", args)
}

func (c *Config) override(source string, args map[string]string) error {
	known := make([]string, len(fields))
	for i, f := range fields {
		known[i] = ArgName(f.path)
	}
	sorted := make([]string, 0, len(args))
	for name := range args {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)

	out := *c
	var errs []error
	fail := func(name, field string, e *Error) {
		e.Source, e.Field = source+name, field
		errs = append(errs, e)
	}
	for _, name := range sorted {
		i := slices.Index(known, name)
		if i < 0 {
			e := unknown(name, known)
			e.Allowed = section(known, name, e.Suggestion)
			e.Source = strings.TrimSpace(source)
			errs = append(errs, e)
			continue
		}
		f, values := fields[i], []string{args[name]}
		if f.list {
			var err error
			if values, err = splitList(args[name]); err != nil {
				fail(name, f.path, &Error{Msg: "is not a list of comma separated values: " + err.Error()})
				continue
			}
		}
		good := true
		for _, v := range values {
			if e := f.judge(v); e != nil {
				fail(name, f.path, e)
				good = false
			}
		}
		if good {
			f.set(&out, values)
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	*c = out
	return nil
}

// section lists the known names of the section that an unknown name, or else the
// one that was probably meant, belongs to, and all when it belongs to none.
func section(known []string, names ...string) []string {
	for _, name := range names {
		for _, s := range sections {
			prefix := ArgName(s) + "_"
			if !strings.HasPrefix(name, prefix) {
				continue
			}
			return slices.DeleteFunc(slices.Clone(known), func(k string) bool { return !strings.HasPrefix(k, prefix) })
		}
	}
	return known
}

func splitList(v string) ([]string, error) {
	if v == "" {
		return nil, nil
	}
	return csvvalue.Fields(v, nil)
}
