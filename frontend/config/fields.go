package config

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/temper-images/temper/hardening/presets"
	"github.com/temper-images/temper/hardening/spec"
)

// field is one leaf of the file: how its values are judged and where they go.
type field struct {
	// path is the field's place, with dots: "harden.level".
	path string
	// list says that the field is a sequence of strings, and one that a single
	// string may stand for a sequence of one.
	list, one bool
	// yaml says which scalars besides strings and whole numbers may be written.
	yaml kindOf
	// secret says that errors do not repeat the value.
	secret bool
	// allowed lists the only values of a choice; nil for free text.
	allowed []string
	// check judges one value of free text: "" or what is wrong with it.
	check func(string) string
	// form says what free text must look like, for messages and the schema.
	form string
	// set stores values that were judged good. A scalar gets exactly one.
	set func(*Config, []string)
}

// kindOf is a kind of YAML scalar.
type kindOf int

const (
	aString kindOf = iota
	aBool
	aNumber
)

var fields = slices.Concat(hardenFields, sbomFields, scanFields, inspectFields, licenceFields, signFields, evidenceFields, pushFields, logFields)

var hardenFields = []field{
	choice("harden.level", func(c *Config) *spec.Level { return &c.Harden.Level }, spec.LevelOff, spec.LevelExclusive, spec.LevelMinimal),
	choice("harden.shell", func(c *Config) *spec.Shell { return &c.Harden.Shell }, spec.ShellKeep, spec.ShellRemove),
	choice("harden.docs", func(c *Config) *Docs { return &c.Harden.Docs }, DocsKeep, DocsRemove),
	choice("harden.bytecode", func(c *Config) *Bytecode { return &c.Harden.Bytecode }, BytecodeKeep, BytecodeRemove),
	list("harden.locales", func(c *Config) *[]string { return &c.Harden.Locales }, checkLocale, "a locale such as de or de_AT"),
	oneOrMore(words("harden.preset", func(c *Config) *[]string { return &c.Harden.Preset }, presets.Names()...)),
	list("harden.keep", func(c *Config) *[]string { return &c.Harden.Keep }, presets.CheckRule, ruleForm),
	list("harden.remove", func(c *Config) *[]string { return &c.Harden.Remove }, presets.CheckRule, ruleForm),
	list("harden.setuid", func(c *Config) *[]string { return &c.Harden.SetUID }, checkPath, "an absolute path"),
	{
		path: "harden.user", check: checkUser, form: "auto, keep, UID or UID:GID",
		set: func(c *Config, v []string) { c.Harden.User = v[0] },
	},
	list("harden.writable", func(c *Config) *[]string { return &c.Harden.Writable }, checkDirectory, "an absolute directory"),
	choice("harden.report", func(c *Config) *Report { return &c.Harden.Report }, ReportAttach, ReportNone),
}

// ruleForm is what a rule of keep and remove looks like.
const ruleForm = "an absolute path or glob, package:NAME or soname:NAME"

// sections are the mappings that hold fields.
var sections = []string{"harden", "sbom", "scan", "inspect", "licences", "sign", "evidence", "push", "log"}

func choice[T ~string](name string, at func(*Config) *T, values ...T) field {
	f := field{path: name, set: func(c *Config, v []string) { *at(c) = T(v[0]) }}
	for _, v := range values {
		f.allowed = append(f.allowed, string(v))
	}
	return f
}

func list(name string, at func(*Config) *[]string, check func(string) string, form string) field {
	return field{path: name, list: true, check: check, form: form, set: func(c *Config, v []string) { *at(c) = v }}
}

func oneOrMore(f field) field {
	f.one = true
	return f
}

// names returns the field and section names directly below a section; "" is the
// root.
func names(section string) []string {
	var out []string
	if section == "" {
		return sections
	}
	for _, f := range fields {
		if rest, ok := strings.CutPrefix(f.path, section+"."); ok {
			out = append(out, rest)
		}
	}
	for _, r := range records {
		if rest, ok := strings.CutPrefix(r.path, section+"."); ok {
			out = append(out, rest)
		}
	}
	return out
}

func lookup(name string) (field, bool) {
	for _, f := range fields {
		if f.path == name {
			return f, true
		}
	}
	return field{}, false
}

var locale = regexp.MustCompile(`^[A-Za-z]{2,8}(_[A-Za-z0-9]{2,8})?(\.[A-Za-z0-9-]{1,20})?(@[A-Za-z0-9]{1,20})?$`)

func checkLocale(v string) string {
	if !locale.MatchString(v) {
		return "is not a locale name"
	}
	return ""
}

func checkPath(v string) string {
	switch {
	case !strings.HasPrefix(v, "/"):
		return "is not absolute: it must begin with /"
	case strings.ContainsRune(v, 0):
		return "holds a NUL byte"
	case strings.Contains(v, "/../") || strings.HasSuffix(v, "/.."):
		return "must not hold \"..\""
	}
	return ""
}

func checkDirectory(v string) string {
	if path.Clean(v) == "/" {
		return "is the root directory, which no user but root may own"
	}
	return checkPath(v)
}

// maxID is the highest user or group number; the one above means "none" to the
// kernel.
const maxID = 1<<32 - 2

func checkUser(v string) string {
	if v == spec.UserAuto || v == spec.UserKeep {
		return ""
	}
	uid, gid, both := strings.Cut(v, ":")
	for _, n := range []string{uid, gid} {
		if !both && n == "" && uid != "" {
			break
		}
		id, err := strconv.ParseUint(n, 10, 64)
		if err != nil || id > maxID || strconv.FormatUint(id, 10) != n {
			return "is not a numeric user"
		}
	}
	if uid == "0" {
		return "is root; to leave a root user as the Dockerfile sets it, say keep"
	}
	return ""
}
