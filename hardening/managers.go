package hardening

import (
	"path"
	"strings"

	"github.com/temper-images/temper/hardening/closure"
)

// The tables below name package managers as their distributions ship them.
// Data, not code: a new manager is a new line.

// managerPackages are packages that exist to install, configure or verify
// other packages. Their libraries are not named: linkage decides about those.
var managerPackages = map[string][]string{
	"deb": {
		"apt", "apt-*", "aptitude", "aptitude-common", "cdebconf", "debconf", "debconf-*",
		"debian-archive-keyring", "devuan-keyring", "dpkg", "dpkg-dev", "dselect",
		"python-apt-common", "python3-apt", "synaptic", "tasksel", "tasksel-data",
		"ubuntu-keyring", "ubuntu-pro-client*", "ucf", "unattended-upgrades",
	},
	"apk": {"alpine-keys", "apk-tools", "apk-tools-*", "wolfi-keys"},
	"rpm": {
		"createrepo_c", "dnf", "dnf-*", "dnf4*", "dnf5", "dnf5-*", "dnf5daemon*", "libdnf-plugin-*",
		"libdnf5-plugin-*", "microdnf", "PackageKit*", "python3-dnf*", "python3-hawkey", "python3-libdnf*",
		"python3-rpm", "rpm", "rpm-build*", "rpm-config-*", "rpm-ndb", "rpm-plugin-*", "rpm-sign*", "subscription-manager*", "tdnf",
		"tdnf-cli-libs", "tdnf-plugin-*", "yum", "yum-*", "zypper", "zypper-*",
	},
}

// managerPrograms are file names that are a package manager wherever they
// stand in a directory of programs, whoever put them there.
var managerPrograms = []string{
	"apk", "apk.static", "apt", "apt-*", "aptitude", "aptitude-curses", "aptdcon",
	"debconf", "debconf-*", "dpkg", "dpkg-*", "dselect", "update-alternatives",
	"dnf", "dnf-3", "dnf4", "dnf5", "dnf5daemon-*", "dnf-automatic", "microdnf", "rpm", "rpm2archive",
	"rpm2cpio", "rpmbuild", "rpmdb", "rpmkeys", "rpmquery", "rpmsign", "rpmverify",
	"tdnf", "tdnf-*", "yum", "yum-*", "yumdownloader", "repoquery", "zypper", "zypper-*", "zypp-*",
}

// installers is the part of managerPrograms whose presence breaks the promise
// that the image cannot install packages.
var installers = []string{
	"apk", "apk.static", "apt", "apt-get", "aptitude", "aptitude-curses", "dpkg", "dpkg-deb", "dselect",
	"dnf", "dnf-3", "dnf4", "dnf5", "microdnf", "rpm", "tdnf", "yum", "zypper",
}

// managerTrees hold state, settings, caches and plugins of package managers.
// The databases that scanners read are rewritten, not removed; they are named
// by the database itself.
var managerTrees = []string{
	"/etc/apk", "/etc/apt", "/etc/debconf.conf", "/etc/dnf", "/etc/dpkg", "/etc/libreport/events.d",
	"/etc/pki/rpm-gpg", "/etc/rpm", "/etc/tdnf", "/etc/ucf.conf", "/etc/yum", "/etc/yum.conf", "/etc/yum.repos.d",
	"/etc/zypp", "/lib/apk", "/lib/rpm", "/root/.rpmdb", "/usr/lib/apk", "/usr/lib/apt", "/usr/lib/dnf-plugins",
	"/usr/lib/dpkg", "/usr/lib/rpm", "/usr/lib/sysimage/dnf", "/usr/lib/sysimage/libdnf5", "/usr/lib/sysimage/rpm",
	"/usr/lib/yum-plugins", "/usr/lib/zypp", "/usr/lib/zypper", "/usr/lib64/libdnf", "/usr/lib64/libdnf5",
	"/usr/lib64/rpm-plugins", "/usr/lib64/tdnf-plugins", "/usr/libexec/dnf-utils", "/usr/libexec/dpkg",
	"/usr/share/apk", "/usr/share/bash-completion/completions/apt", "/usr/share/bash-completion/completions/dpkg",
	"/usr/share/debconf", "/usr/share/dpkg", "/usr/share/keyrings/debian-archive-*", "/usr/share/keyrings/ubuntu-*",
	"/usr/share/rpm", "/usr/share/ucf", "/usr/share/yum-cli", "/usr/share/zypp", "/usr/share/zypper", "/var/backups",
	"/var/cache/apk", "/var/cache/apt", "/var/cache/debconf", "/var/cache/dnf", "/var/cache/libdnf5", "/var/cache/tdnf",
	"/var/cache/yum", "/var/cache/zypp", "/var/lib/apk", "/var/lib/apt", "/var/lib/dnf", "/var/lib/dpkg", "/var/lib/rpm",
	"/var/lib/rpm-state", "/var/lib/systemd/deb-systemd-helper-*", "/var/lib/systemd/deb-systemd-user-helper-*",
	"/var/lib/tdnf", "/var/lib/ucf", "/var/lib/yum", "/var/lib/zypp", "/var/log/apt",
}

// managerLeftovers are endings of files that package managers leave beside
// the configuration files they guard.
var managerLeftovers = []string{
	".dpkg-bak", ".dpkg-dist", ".dpkg-new", ".dpkg-old", ".dpkg-remove", ".dpkg-tmp", ".apk-new", ".rpmnew", ".rpmorig",
	".rpmsave", ".ucf-dist", ".ucf-new", ".ucf-old",
}

// ambientPackages hold what programs use without their packages saying so:
// statically linked programs and copied applications name no dependencies. The
// second part is what Debian calls essential, by its names elsewhere.
var ambientPackages = []string{
	"alpine-baselayout*", "alpine-release", "base-files", "base-passwd", "ca-certificates*", "filesystem", "iana-etc",
	"libc-bin", "libc6", "glibc*", "mailcap", "mailcap-*", "media-types", "mime-support", "musl", "netbase", "openssl-config*",
	"setup", "shared-mime-info", "tzdata", "*-release", "*-release-*", "wolfi-baselayout",

	"bash", "busybox", "busybox-*", "coreutils", "coreutils-*", "diffutils", "filesystem-*", "findutils", "gawk", "grep", "gzip",
	"hostname", "ncurses-base", "ncurses-terminfo-base", "sed", "tar", "toybox", "util-linux", "util-linux-*", "which",
}

// shellPackages and shellPrograms are command interpreters. Busybox is one: it
// answers as "busybox sh" under any name.
var shellPackages = []string{
	"ash", "bash", "busybox", "busybox-*", "csh", "dash", "fish", "ksh", "ksh93*", "mksh", "posh", "tcsh", "yash", "zsh", "zsh-*",
}

var shellPrograms = []string{
	"ash", "bash", "busybox", "bsd-csh", "csh", "dash", "fish", "ksh", "ksh93", "lksh", "mksh", "mksh-static", "pdksh", "posh",
	"rbash", "rksh", "rzsh", "sash", "sh", "static-sh", "tcsh", "yash", "zsh", "zsh5",
}

// matchName reports whether name matches one of the patterns, in which "*"
// stands for any characters.
func matchName(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, name); err == nil && ok {
			return true
		}
	}
	return false
}

// isManagerProgram reports whether a canonical path is a package manager's
// program by its place and name.
func isManagerProgram(p string) bool {
	return inProgramDir(p) && matchName(managerPrograms, path.Base(p))
}

func isInstaller(p string) bool {
	return inProgramDir(p) && matchName(installers, path.Base(p))
}

func isShellProgram(p string) bool {
	return inProgramDir(p) && matchName(shellPrograms, path.Base(p))
}

func inProgramDir(p string) bool {
	return closure.IsProgramDir(path.Dir(p))
}

// inManagerTree reports whether a canonical path belongs to a package
// manager's state.
func inManagerTree(p string) bool {
	for _, suffix := range managerLeftovers {
		if strings.HasSuffix(p, suffix) && strings.HasPrefix(p, "/etc/") {
			return true
		}
	}
	for _, tree := range managerTrees {
		if underTree(tree, p) {
			return true
		}
	}
	return false
}

// underTree reports whether p is tree or lies in it. The last element of tree
// may hold "*".
func underTree(tree, p string) bool {
	if !strings.Contains(tree, "*") {
		return p == tree || strings.HasPrefix(p, tree) && p[len(tree)] == '/'
	}
	dir := path.Dir(tree)
	rest, ok := strings.CutPrefix(p, dir+"/")
	if !ok {
		return false
	}
	first, _, _ := strings.Cut(rest, "/")
	return matchName([]string{path.Base(tree)}, first)
}
