package config

import (
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// RefPrefix begins a reference to a secret, as helmfile/vals writes them.
const RefPrefix = "ref+"

var sbomFields = []field{
	words("sbom.formats", func(c *Config) *[]string { return &c.SBOM.Formats }, "cyclonedx", "spdx"),
	number("sbom.cyclonedx", func(c *Config) *string { return &c.SBOM.CycloneDX }, "1.4", "1.5", "1.6", "1.7"),
	number("sbom.spdx", func(c *Config) *string { return &c.SBOM.SPDX }, "2.3", "3.0"),
	truth("sbom.context", func(c *Config) *bool { return &c.SBOM.Context }),
	list("sbom.stages", func(c *Config) *[]string { return &c.SBOM.Stages }, checkWord, "the name of a stage"),
}

var scanFields = []field{
	choice("scan.gate", func(c *Config) *Gate { return &c.Scan.Gate }, GateFail, GateWarn, GateOff),
	words("scan.severities", func(c *Config) *[]string { return &c.Scan.Severities }, "critical", "high", "medium", "low", "negligible", "unknown"),
	truth("scan.fixed", func(c *Config) *bool { return &c.Scan.Fixed }),
	truth("scan.exploited", func(c *Config) *bool { return &c.Scan.Exploited }),
	{
		path: "scan.epss", yaml: aNumber, check: checkProbability, form: "a number from 0 to 1",
		set: func(c *Config, v []string) { c.Scan.EPSS, _ = strconv.ParseFloat(v[0], 64) },
	},
	days("scan.grace", func(c *Config) *int { return &c.Scan.Grace }),
	list("scan.vex", func(c *Config) *[]string { return &c.Scan.VEX }, checkRelative, "a path in the build context"),
	secret("scan.database", func(c *Config) *string { return &c.Scan.Database }, checkText, "a file, a URL or oci://REFERENCE"),
	days("scan.maxage", func(c *Config) *int { return &c.Scan.MaxAge }),
}

var inspectFields = []field{
	choice("inspect.gate", func(c *Config) *Gate { return &c.Inspect.Gate }, GateFail, GateWarn, GateOff),
	list("inspect.fail", func(c *Config) *[]string { return &c.Inspect.Fail }, checkText, "a rule's name or glob"),
	list("inspect.warn", func(c *Config) *[]string { return &c.Inspect.Warn }, checkText, "a rule's name or glob"),
	list("inspect.off", func(c *Config) *[]string { return &c.Inspect.Off }, checkText, "a rule's name or glob"),
}

var licenceFields = []field{
	choice("licences.gate", func(c *Config) *Gate { return &c.Licences.Gate }, GateFail, GateWarn, GateOff),
	list("licences.allow", func(c *Config) *[]string { return &c.Licences.Allow }, checkText, "an SPDX identifier or glob"),
	list("licences.deny", func(c *Config) *[]string { return &c.Licences.Deny }, checkText, "an SPDX identifier or glob"),
	choice("licences.unknown", func(c *Config) *Gate { return &c.Licences.Unknown }, GateFail, GateWarn, GateOff),
}

var signFields = []field{
	secret("sign.key", func(c *Config) *string { return &c.Sign.Key }, checkKey, "a key file or a reference to a key, or keyless"),
	secret("sign.password", func(c *Config) *string { return &c.Sign.Password }, checkSecret, "ref+PROVIDER://…"),
	choice("sign.tlog", func(c *Config) *TLog { return &c.Sign.TLog }, TLogAuto, TLogOn, TLogOff),
	secret("sign.rekor", func(c *Config) *string { return &c.Sign.Rekor }, checkURL, urlForm),
	secret("sign.fulcio", func(c *Config) *string { return &c.Sign.Fulcio }, checkURL, urlForm),
	secret("sign.token", func(c *Config) *string { return &c.Sign.Token }, checkSecret, "ref+PROVIDER://…"),
	secret("sign.timestamp", func(c *Config) *string { return &c.Sign.Timestamp }, checkURL, urlForm),
	text("sign.root", func(c *Config) *string { return &c.Sign.Root }, checkText, "a file"),
	text("sign.services", func(c *Config) *string { return &c.Sign.Services }, checkText, "a file"),
	secret("sign.tuf", func(c *Config) *string { return &c.Sign.TUF }, checkURL, urlForm),
	text("sign.tufroot", func(c *Config) *string { return &c.Sign.TUFRoot }, checkText, "a file"),
}

var evidenceFields = []field{
	secret("evidence.url", func(c *Config) *string { return &c.Evidence.URL }, checkText, "a directory or a URL"),
	secret("evidence.account", func(c *Config) *string { return &c.Evidence.Account }, checkSecret, "ref+PROVIDER://…"),
	secret("evidence.secret", func(c *Config) *string { return &c.Evidence.Secret }, checkSecret, "ref+PROVIDER://…"),
}

var pushFields = []field{
	choice("push.order", func(c *Config) *Order { return &c.Push.Order }, OrderAuto, OrderSignatureFirst, OrderDigestFirst),
	words("push.formats", func(c *Config) *[]string { return &c.Push.Formats }, FormatBundle, FormatCosign),
	truth("push.archtags", func(c *Config) *bool { return &c.Push.ArchTags }),
	truth("push.plain", func(c *Config) *bool { return &c.Push.Plain }),
}

var logFields = []field{
	choice("log.format", func(c *Config) *LogFormat { return &c.Log.Format }, LogNone, LogText, LogJSON),
	choice("log.level", func(c *Config) *string { return &c.Log.Level }, "debug", "info", "warn", "error"),
	secret("log.otlp", func(c *Config) *string { return &c.Log.OTLP }, checkURL, urlForm),
	{
		path: "log.headers", list: true, secret: true, check: checkHeader, form: "NAME=VALUE or NAME=ref+PROVIDER://…",
		set: func(c *Config, v []string) { c.Log.Headers = v },
	},
}

func text(name string, at func(*Config) *string, check func(string) string, form string) field {
	return field{path: name, check: check, form: form, set: func(c *Config, v []string) { *at(c) = v[0] }}
}

// secret is a text that errors do not repeat, since it may be what it must not be.
func secret(name string, at func(*Config) *string, check func(string) string, form string) field {
	f := text(name, at, check, form)
	f.secret = true
	return f
}

// words is a list whose values are chosen from a few.
func words(name string, at func(*Config) *[]string, values ...string) field {
	return field{path: name, list: true, allowed: values, set: func(c *Config, v []string) { *at(c) = v }}
}

// number is a choice that may be written as a number.
func number(name string, at func(*Config) *string, values ...string) field {
	f := choice(name, at, values...)
	f.yaml = aNumber
	return f
}

// urlForm is what a field for an address takes.
const urlForm = "an http:// or https:// URL, or a reference"

// truth is a field that is true or false.
func truth(name string, at func(*Config) *bool) field {
	return field{path: name, yaml: aBool, allowed: []string{"true", "false"}, set: func(c *Config, v []string) { *at(c) = v[0] == "true" }}
}

func days(name string, at func(*Config) *int) field {
	return field{
		path: name, yaml: aNumber, check: checkDays, form: "a number of days",
		set: func(c *Config, v []string) { *at(c), _ = strconv.Atoi(v[0]) },
	}
}

const maxDays = 10_000

func checkDays(v string) string {
	if n, err := strconv.Atoi(v); err != nil || n < 0 || n > maxDays {
		return "is not a number of days"
	}
	return ""
}

func checkProbability(v string) string {
	if p, err := strconv.ParseFloat(v, 64); err != nil || !(p >= 0 && p <= 1) {
		return "is not a probability"
	}
	return ""
}

func checkText(v string) string {
	switch {
	case v == "":
		return "is empty"
	case len(v) > 2048:
		return "is too long"
	case strings.ContainsAny(v, "\x00\n\r"):
		return "has more than one line"
	}
	return ""
}

var word = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+:/@-]{0,199}$`)

func checkWord(v string) string {
	if !word.MatchString(v) {
		return "is not a name"
	}
	return ""
}

func checkDate(v string) string {
	if _, err := time.Parse(time.DateOnly, v); err != nil {
		return "is not a date"
	}
	return ""
}

func checkRelative(v string) string {
	if msg := checkText(v); msg != "" {
		return msg
	}
	if clean := path.Clean(v); path.IsAbs(v) || clean == ".." || strings.HasPrefix(clean, "../") {
		return "lies outside of the build context"
	}
	return ""
}

func checkURL(v string) string {
	if strings.HasPrefix(v, RefPrefix) {
		return checkText(v)
	}
	u, err := url.Parse(v)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "is not a URL"
	}
	if u.User != nil {
		return "holds credentials, which do not belong into this file"
	}
	return ""
}

// checkSecret refuses a secret that is written out: the file is part of the build
// context, so the builder sees it, and it is kept in a repository.
func checkSecret(v string) string {
	if !strings.HasPrefix(v, RefPrefix) {
		return "must be a reference, since this file is no place for a secret"
	}
	return checkText(v)
}

func checkKey(v string) string {
	if strings.Contains(v, "PRIVATE KEY") {
		return "must be a reference, since this file is no place for a secret"
	}
	return checkText(v)
}

func checkHeader(v string) string {
	name, value, ok := strings.Cut(v, "=")
	if !ok || name == "" || strings.ContainsAny(name, " \t:") {
		return "is not NAME=VALUE"
	}
	if strings.EqualFold(name, "authorization") && !strings.HasPrefix(value, RefPrefix) {
		return "must have a reference for its value, since this file is no place for a secret"
	}
	return checkText(v)
}
