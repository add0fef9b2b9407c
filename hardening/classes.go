package hardening

import (
	"path"
	"slices"
	"strings"

	"github.com/temper-images/temper/hardening/rootfs"
	"github.com/temper-images/temper/hardening/spec"
)

// The classes of removed files, as the report names them.
const (
	classManager       = "package-manager"
	classOrphan        = "orphan"
	classByteCode      = "bytecode"
	classDocumentation = "documentation"
	classLocale        = "locale"
	classCache         = "cache"
	classLog           = "log"
	classTemporary     = "temporary"
	classShell         = "shell"
	classDevelopment   = "development"
	classUnreachable   = "unreachable"
	classRule          = "rule"
)

var documentationTrees = []string{
	"/usr/share/bug", "/usr/share/doc", "/usr/share/doc-base", "/usr/share/gtk-doc", "/usr/share/help", "/usr/share/info",
	"/usr/share/linda", "/usr/share/lintian", "/usr/share/man", "/usr/share/omf", "/usr/share/reportbug",
	"/usr/local/share/doc", "/usr/local/share/info", "/usr/local/share/man", "/usr/local/man", "/usr/man", "/usr/doc", "/usr/info",
}

var cacheTrees = []string{
	"/root/.cache", "/root/.npm/_cacache", "/root/.wget-hsts", "/var/cache/PackageKit", "/var/cache/ldconfig", "/var/cache/man",
	"/var/cache/pip", "/usr/share/mime/mime.cache.tmp",
}

var logTrees = []string{"/var/log", "/root/.bash_history", "/root/.ash_history", "/root/.viminfo", "/root/.lesshst"}

// backups of the account files, written by the tools that edit them.
var temporaryFiles = []string{"/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-", "/etc/.pwd.lock"}

var temporaryTrees = []string{"/tmp", "/var/tmp", "/run"}

// classifier names the class for which a file goes whoever owns it, from its
// canonical path and kind alone.
type classifier struct {
	docs    bool
	locales []string
}

func newClassifier(s spec.Settings) classifier {
	c := classifier{docs: s.Docs, locales: slices.Clone(s.Locales)}
	// A locale that the image itself selects is in use.
	for _, kv := range s.Image.Env {
		name, value, _ := strings.Cut(kv, "=")
		if name == "LANG" || name == "LANGUAGE" || strings.HasPrefix(name, "LC_") {
			c.locales = append(c.locales, strings.Split(value, ":")...)
		}
	}
	return c
}

// class returns the class of an entry and whether it has one. owned says
// whether a package put the file there: a message catalogue or a locale that
// no package owns was put there on purpose.
func (c classifier) class(e *rootfs.Entry, owned bool) (string, bool) {
	p := e.Path
	if e.Kind != rootfs.Directory && (inAny(logTrees, p)) {
		// Links in /var/log stand for where the container's log goes.
		if e.Kind == rootfs.Regular {
			return classLog, true
		}
		return "", false
	}
	switch {
	case e.Kind == rootfs.Directory && (p == "/tmp" || p == "/var/tmp" || inAny([]string{"/run", "/var/log"}, p)):
		return "", false
	case inAny(temporaryTrees, p):
		if underTree("/run", p) && e.Kind != rootfs.Regular && e.Kind != rootfs.Socket {
			return "", false
		}
		return classTemporary, true
	case slices.Contains(temporaryFiles, p):
		return classTemporary, true
	case inAny(cacheTrees, p) || isHomeCache(p):
		return classCache, true
	case !c.docs && inAny(documentationTrees, p) && !isLicence(p):
		return classDocumentation, true
	case owned && c.droppedLocale(p):
		return classLocale, true
	}
	return "", false
}

func inAny(trees []string, p string) bool {
	for _, t := range trees {
		if underTree(t, p) {
			return true
		}
	}
	return false
}

// isHomeCache reports whether p lies in /home/NAME/.cache.
func isHomeCache(p string) bool {
	rest, ok := strings.CutPrefix(p, "/home/")
	if !ok {
		return false
	}
	_, rest, _ = strings.Cut(rest, "/")
	return underTree("/.cache", "/"+rest)
}

// isLicence reports whether p is a licence text, which must stay with the
// files that it covers and from which scanners read the licence.
func isLicence(p string) bool {
	rest, ok := strings.CutPrefix(p, "/usr/share/doc/")
	if !ok {
		return false
	}
	_, name, ok := strings.Cut(rest, "/")
	if !ok || strings.Contains(name, "/") {
		return false
	}
	name = strings.ToLower(name)
	for _, prefix := range []string{"copyright", "copying", "licence", "license", "notice"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// droppedLocale reports whether p is a message catalogue or compiled locale of
// a locale that is not kept.
func (c classifier) droppedLocale(p string) bool {
	for _, tree := range []string{"/usr/share/locale/", "/usr/lib/locale/", "/usr/local/share/locale/"} {
		rest, ok := strings.CutPrefix(p, tree)
		if !ok {
			continue
		}
		name, inside, _ := strings.Cut(rest, "/")
		if inside == "" && path.Ext(name) == ".alias" || name == "locale-archive" {
			return false
		}
		return !c.keepsLocale(name)
	}
	return false
}

// keepsLocale compares locale names by language and territory, without
// encoding; the modifier belongs to the name ("sr@latin").
func (c classifier) keepsLocale(name string) bool {
	base, mod := splitLocale(name)
	if base == "C" || base == "POSIX" {
		return true
	}
	for _, l := range c.locales {
		kept, keptMod := splitLocale(l)
		if kept == "" || keptMod != "" && keptMod != mod {
			continue
		}
		lang, _, _ := strings.Cut(base, "_")
		keptLang, _, keptHasTerritory := strings.Cut(kept, "_")
		// A territory needs its language's catalogue too: de_AT falls back to de.
		if base == kept || lang == kept || base == keptLang && keptHasTerritory {
			return true
		}
	}
	return false
}

func splitLocale(name string) (base, modifier string) {
	name, modifier, _ = strings.Cut(name, "@")
	base, _, _ = strings.Cut(name, ".")
	return base, modifier
}
