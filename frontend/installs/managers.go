package installs

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// manager is how a package manager's command line is read.
type manager struct {
	// verbs are the sub-commands that install.
	verbs []string
	// valued are the options whose value is the next argument.
	valued []string
	// name turns an argument into a package's name, or "".
	name func(string) string
}

var (
	apt = manager{
		verbs:  []string{"install", "reinstall"},
		valued: []string{"-o", "--option", "-t", "--target-release", "--default-release", "-c", "--config-file", "-a", "--host-architecture", "-w"},
		name:   debName,
	}
	apk = manager{
		verbs: []string{"add"},
		valued: []string{"-t", "--virtual", "-X", "--repository", "-p", "--root", "--arch", "--keys-dir", "--repositories-file",
			"--cache-dir", "--cache-max-age", "--wait", "--timeout", "--progress-fd"},
		name: apkName,
	}
	dnf = manager{
		verbs: []string{"install", "reinstall", "localinstall", "install-n", "install-na", "install-nevra"},
		valued: []string{"-c", "--config", "-x", "--exclude", "--excludepkgs", "--enablerepo", "--enable-repo", "--disablerepo", "--disable-repo",
			"--repo", "--repoid", "--repofrompath", "--releasever", "--setopt", "--installroot", "--forcearch", "--comment",
			"--disableplugin", "--enableplugin", "--disableexcludes", "-d", "--debuglevel", "-e", "--errorlevel", "-R", "--randomwait",
			"--downloaddir", "--destdir", "--advisory", "--cve", "--color"},
		name: rpmName,
	}
	zypper = manager{
		verbs: []string{"install", "in"},
		valued: []string{"-R", "--root", "-c", "--config", "-D", "--reposd-dir", "-C", "--cache-dir", "--installroot", "--releasever", "-p", "--plus-repo",
			"--plus-content", "-r", "--repo", "-t", "--type", "--from", "--download"},
		name: rpmName,
	}
)

// managers are known by the base name of their program.
var managers = map[string]manager{
	"apt-get": apt, "apt": apt, "aptitude": apt,
	"apk": apk,
	"dnf": dnf, "dnf5": dnf, "dnf-3": dnf, "yum": dnf, "microdnf": dnf, "tdnf": dnf,
	"zypper": zypper,
}

// installed returns the names that a command line installs; args are those after
// the program.
func (m manager) installed(args []string) []string {
	var names []string
	verb, literal := "", false
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--" && !literal:
			literal = true
		case strings.HasPrefix(a, "-") && !literal:
			if slices.Contains(m.valued, a) {
				i++
			}
		case verb == "":
			if verb = a; !slices.Contains(m.verbs, verb) {
				return nil
			}
		default:
			if n := m.name(a); plainName.MatchString(n) {
				names = append(names, n)
			}
		}
	}
	return names
}

// plainName is what all package formats allow in names. It leaves out patterns,
// groups, tasks and capabilities.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+_-]{0,254}$`)

// debName reads NAME, NAME=VERSION, NAME/RELEASE, NAME:ARCH and NAME_VER_ARCH.deb;
// NAME+ is the same as NAME, and NAME- asks for a removal.
func debName(a string) string {
	if strings.HasSuffix(a, ".deb") {
		name, _, _ := strings.Cut(path.Base(a), "_")
		return strings.TrimSuffix(name, ".deb")
	}
	if strings.HasPrefix(a, ".") || strings.HasPrefix(a, "/") {
		return ""
	}
	if i := strings.IndexAny(a, "=/:"); i >= 0 {
		a = a[:i]
	}
	if strings.HasSuffix(a, "-") {
		return ""
	}
	// A name can end in "++".
	if strings.HasSuffix(a, "+") && !strings.HasSuffix(a, "++") {
		return a[:len(a)-1]
	}
	return a
}

// apkName reads NAME, NAME with a version constraint (=, <, >, ~), NAME@TAG and
// NAME-VERSION-rN.apk; !NAME is a conflict.
func apkName(a string) string {
	if file, ok := strings.CutSuffix(a, ".apk"); ok {
		return beforeVersion(path.Base(file))
	}
	if strings.HasPrefix(a, "!") {
		return ""
	}
	if i := strings.IndexAny(a, "=<>~@"); i >= 0 {
		a = a[:i]
	}
	return a
}

var rpmArch = regexp.MustCompile(`\.(x86_64|i[3-6]86|noarch|aarch64|armv7hl|ppc64le|s390x|riscv64|src)$`)

// rpmName reads NAME, NAME.ARCH, NAME with a version constraint, MODULE:STREAM
// and NAME-VERSION-RELEASE.ARCH.rpm.
func rpmName(a string) string {
	if file, ok := strings.CutSuffix(a, ".rpm"); ok {
		return beforeVersion(rpmArch.ReplaceAllString(path.Base(file), ""))
	}
	if strings.HasPrefix(a, "/") {
		return ""
	}
	if i := strings.IndexAny(a, "=<>:"); i >= 0 {
		a = a[:i]
	}
	return rpmArch.ReplaceAllString(a, "")
}

// beforeVersion cuts NAME off NAME-VERSION-RELEASE, or returns "".
func beforeVersion(s string) string {
	for range 2 {
		i := strings.LastIndexByte(s, '-')
		if i < 0 {
			return ""
		}
		s = s[:i]
	}
	return s
}
