package hardening

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/temper-images/temper/hardening/closure"
	"github.com/temper-images/temper/hardening/linkage"
	"github.com/temper-images/temper/hardening/rootfs"
	"github.com/temper-images/temper/hardening/spec"
)

// defaultPath is what runtimes use when the image sets no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// maxScript bounds the size of a shell script that is searched for commands.
const maxScript = 1 << 20

// roots returns the entries that are needed for themselves: what the image
// runs, what "keep" names, what links that somebody made point to, and the
// commands of shell scripts that no package owns.
func (inv *inventory) roots(s spec.Settings, rules *ruleSet) ([]int, error) {
	found := map[int]bool{}
	add := func(entry int, links []int) {
		found[entry] = true
		for _, l := range links {
			found[l] = true
		}
	}
	for _, argv := range [][]string{s.Image.Entrypoint, s.Image.Cmd, healthcheckCommand(s.Image.Healthcheck)} {
		if err := inv.checkRemovedCommand(argv, s.Image, rules); err != nil {
			return nil, err
		}
		inv.addCommand(argv, s.Image, add)
	}
	for i := range rules.keep {
		found[i] = true
	}
	type inode struct{ dev, ino uint64 }
	read := map[inode]bool{}
	for i, e := range inv.entries {
		if len(inv.owners[i]) > 0 || inManagerTree(e.Path) {
			continue
		}
		switch e.Kind {
		case rootfs.Symlink:
			if !isWeakLink(e) {
				if target, links, ok := inv.find(e.Path); ok {
					add(target, links)
				}
			}
		case rootfs.Regular:
			if sc, ok := inv.scripts[e.Path]; ok && isShellName(sc) && e.Size <= maxScript && (e.Nlink < 2 || !read[inode{e.Dev, e.Ino}]) {
				read[inode{e.Dev, e.Ino}] = true
				if text, err := inv.tree.ReadFile(e.Path, maxScript); err == nil {
					inv.addShellCommands(text, s.Image, add)
				}
			}
		}
	}
	ids := make([]int, 0, len(found))
	for i := range found {
		ids = append(ids, i)
	}
	slices.Sort(ids)
	return ids, nil
}

// isWeakLink reports whether a link that no package owns was made by a tool
// and so follows its target: alternatives, service links and the names of
// libraries.
func isWeakLink(e *rootfs.Entry) bool {
	return strings.Contains(e.Name(), ".so") || strings.HasPrefix(e.Link, "/etc/alternatives/") || inAny([]string{"/etc/alternatives", "/etc/systemd", "/etc/runlevels",
		"/etc/rc0.d", "/etc/rc1.d", "/etc/rc2.d", "/etc/rc3.d", "/etc/rc4.d", "/etc/rc5.d", "/etc/rc6.d", "/etc/rcS.d"}, e.Path)
}

// healthcheckCommand strips the keyword of a health check (Docker image
// specification v1.2, "Healthcheck": NONE, CMD or CMD-SHELL).
func healthcheckCommand(test []string) []string {
	switch {
	case len(test) > 1 && test[0] == "CMD":
		return test[1:]
	case len(test) > 1 && test[0] == "CMD-SHELL":
		return append([]string{"/bin/sh", "-c"}, test[1:]...)
	}
	return nil
}

// addCommand adds the program that argv runs, and, where it is a shell or a
// wrapper that was given a command, what that names too.
func (inv *inventory) addCommand(argv []string, image spec.ImageConfig, add func(int, []int)) {
	for i, word := range argv {
		if entry, links, ok := inv.lookPath(word, image.Env, image.WorkingDir); ok && (i == 0 || inv.isProgram(entry)) {
			add(entry, links)
		} else if i > 0 && strings.ContainsAny(word, " \t\n;&|") {
			inv.addShellCommands([]byte(word), image, add)
		}
	}
}

// checkRemovedCommand refuses a rule that removes what the image runs.
func (inv *inventory) checkRemovedCommand(argv []string, image spec.ImageConfig, rules *ruleSet) error {
	if len(argv) == 0 {
		return nil
	}
	entry, links, ok := inv.lookPath(argv[0], image.Env, image.WorkingDir)
	if !ok {
		return nil
	}
	for _, i := range append(links, entry) {
		r, removed := rules.remove[i]
		if !removed {
			continue
		}
		at := r.place()
		return &RuleError{Field: at.Field, Rule: at.Value, Why: fmt.Sprintf("removes %s, which the image runs", inv.entries[i].Path)}
	}
	return nil
}

func (inv *inventory) isProgram(entry int) bool {
	e := inv.entries[entry]
	return e.Kind == rootfs.Regular && e.Mode&0o111 != 0
}

// addShellCommands adds every command that a shell text names literally, and the
// arguments that name a program by their own: "exec nginx", "su-exec app gunicorn".
// It is a best effort: a command in a variable is not seen.
func (inv *inventory) addShellCommands(text []byte, image spec.ImageConfig, add func(int, []int)) {
	for _, name := range closure.Commands(text) {
		if entry, links, ok := inv.lookPath(name, image.Env, image.WorkingDir); ok && inv.isProgram(entry) {
			add(entry, links)
		}
	}
}

func isShellName(s linkage.Shebang) bool {
	return slices.Contains(shellPrograms, path.Base(s.Interp)) || slices.Contains(shellPrograms, path.Base(s.Program))
}

// lookPath finds a command as execvp(3) does in the image: through PATH when
// the name has no slash.
func (inv *inventory) lookPath(name string, env []string, dir string) (int, []int, bool) {
	if name == "" {
		return 0, nil, false
	}
	if strings.Contains(name, "/") {
		if !path.IsAbs(name) {
			name = path.Join("/", dir, name)
		}
		return inv.find(name)
	}
	search := defaultPath
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			search = v
		}
	}
	for d := range strings.SplitSeq(search, ":") {
		if !path.IsAbs(d) {
			continue
		}
		if entry, links, ok := inv.find(path.Join(d, name)); ok && inv.isProgram(entry) {
			return entry, links, true
		}
	}
	return 0, nil, false
}

// below returns the entries under a directory. Entries are sorted by path
// bytes, so a subtree is a run after the directory, but for names that sort
// between "dir" and "dir/", which the prefix test passes over.
func (inv *inventory) below(dir string) []int {
	prefix := strings.TrimSuffix(dir, "/") + "/"
	start, _ := slices.BinarySearchFunc(inv.entries, prefix, func(e *rootfs.Entry, p string) int { return strings.Compare(e.Path, p) })
	var ids []int
	for i := start; i < len(inv.entries) && strings.HasPrefix(inv.entries[i].Path, prefix); i++ {
		ids = append(ids, i)
	}
	return ids
}
