package hardening

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/user"

	"github.com/temper-images/temper/hardening/rootfs"
	"github.com/temper-images/temper/hardening/spec"
)

// maxAccounts bounds the size of /etc/passwd and /etc/group, in bytes.
const maxAccounts = 8 << 20

// UserError says that the image would run as a user that hardening does not
// accept or cannot find.
type UserError struct {
	// User is the value that the image configuration or temper.yaml names.
	User string
	// Why says what is wrong with it and how to mend it.
	Why string
}

func (e *UserError) Error() string { return fmt.Sprintf("user %q: %s", e.User, e.Why) }

// account is the outcome of choosing the image's user.
type account struct {
	user spec.User
	// contents are new texts of /etc/passwd and /etc/group; added are
	// entries to create.
	contents map[string][]byte
	added    []rootfs.NewEntry
}

// chooseUser decides whom the image runs as.
func (inv *inventory) chooseUser(s spec.Settings) (*account, error) {
	passwd, err := inv.readAccounts("/etc/passwd")
	if err != nil {
		return nil, err
	}
	group, err := inv.readAccounts("/etc/group")
	if err != nil {
		return nil, err
	}
	named := s.Image.User
	switch s.User {
	case spec.UserKeep:
		u, err := lookupUser(named, passwd, group)
		if err != nil {
			return nil, err
		}
		u.Config = named
		return &account{user: u}, nil
	case spec.UserAuto:
		if named != "" {
			u, err := lookupUser(named, passwd, group)
			if err != nil {
				return nil, err
			}
			if u.UID == 0 {
				return nil, &UserError{User: named, Why: "the Dockerfile makes the image run as root; name another USER, or set harden.user in temper.yaml to a UID, or to \"keep\" to run as root"}
			}
			return &account{user: u}, nil
		}
		return inv.createUser(spec.NonrootID, spec.NonrootID, passwd, group), nil
	}
	uid, gid, err := parseIDs(s.User)
	if err != nil {
		return nil, err
	}
	return inv.createUser(uid, gid, passwd, group), nil
}

// parseIDs reads "UID" or "UID:GID", the group being the user's when absent.
func parseIDs(s string) (uid, gid int, err error) {
	u, g, hasGroup := strings.Cut(s, ":")
	if !hasGroup {
		g = u
	}
	uid, uerr := strconv.Atoi(u)
	gid, gerr := strconv.Atoi(g)
	const most = 1<<31 - 1
	if uerr != nil || gerr != nil || uid <= 0 || gid < 0 || uid > most || gid > most {
		return 0, 0, &UserError{User: s, Why: "harden.user is \"auto\", \"keep\" or UID[:GID] with numbers, the UID above 0"}
	}
	return uid, gid, nil
}

// readAccounts reads an account file; one that is absent is empty.
func (inv *inventory) readAccounts(p string) ([]byte, error) {
	res, err := inv.tree.Resolve(p)
	if errors.Is(err, rootfs.ErrNotExist) {
		if _, ok := inv.entryOf(p, map[string]string{}); ok {
			return nil, fmt.Errorf("read %s: it is a symbolic link to nothing", p)
		}
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", p, err)
	}
	dt, err := inv.tree.ReadFile(res.Entry.Path, maxAccounts)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", p, err)
	}
	return dt, nil
}

// lookupUser resolves "user[:group]" of an image configuration (image-spec
// v1.1, config.md, "User") to numbers. A user given without a group is written
// without one, so that runtimes still look up its groups.
func lookupUser(named string, passwd, group []byte) (spec.User, error) {
	eu, err := user.GetExecUser(named, nil, accountReader(passwd), accountReader(group))
	if err != nil {
		return spec.User{}, &UserError{User: named, Why: fmt.Sprintf("cannot be found in the image's /etc/passwd and /etc/group: %v", err)}
	}
	u := spec.User{UID: eu.Uid, GID: eu.Gid, Config: strconv.Itoa(eu.Uid)}
	if _, g, ok := strings.Cut(named, ":"); ok && g != "" {
		u.Config += ":" + strconv.Itoa(eu.Gid)
	}
	return u, nil
}

func accountReader(dt []byte) io.Reader {
	if dt == nil {
		return nil
	}
	return bytes.NewReader(dt)
}

// createUser adds a user with the given numbers, unless the account files have
// one already.
func (inv *inventory) createUser(uid, gid int, passwd, group []byte) *account {
	a := &account{contents: map[string][]byte{}, user: spec.User{
		UID: uid, GID: gid, Config: strconv.Itoa(uid) + ":" + strconv.Itoa(gid),
	}}
	users, _ := user.ParsePasswdFilter(bytes.NewReader(passwd), func(u user.User) bool { return u.Uid == uid })
	groups, _ := user.ParseGroupFilter(bytes.NewReader(group), func(g user.Group) bool { return g.Gid == gid })
	if len(users) > 0 && len(groups) > 0 {
		return a
	}
	names, _ := user.ParsePasswd(bytes.NewReader(passwd))
	groupNames, _ := user.ParseGroup(bytes.NewReader(group))
	if len(users) == 0 {
		name := unused(spec.NonrootName, func(n string) bool {
			return slices.ContainsFunc(names, func(u user.User) bool { return u.Name == n })
		})
		home, ok := inv.makeHome(name)
		line := fmt.Sprintf("%s:x:%d:%d:%s:%s:%s\n", name, uid, gid, name, home, inv.nologin())
		inv.setAccount(a, "/etc/passwd", passwd, "root:x:0:0:root:/root:"+inv.nologin()+"\n", line)
		a.user.Created = true
		if ok {
			a.added = append(a.added, rootfs.NewEntry{
				Path: home, Kind: rootfs.Directory, Metadata: rootfs.Metadata{UID: uint32(uid), GID: uint32(gid), Mode: 0o700},
			})
		}
	}
	if len(groups) == 0 {
		name := unused(spec.NonrootName, func(n string) bool {
			return slices.ContainsFunc(groupNames, func(g user.Group) bool { return g.Name == n })
		})
		inv.setAccount(a, "/etc/group", group, "root:x:0:\n", fmt.Sprintf("%s:x:%d:\n", name, gid))
	}
	return a
}

// makeHome returns the home directory of a new user, and whether it has to be
// made.
func (inv *inventory) makeHome(name string) (string, bool) {
	home := "/home/" + name
	if i, _, ok := inv.find("/home"); ok {
		if inv.entries[i].Kind != rootfs.Directory {
			return "/nonexistent", false
		}
		home = path.Join(inv.entries[i].Path, name)
	} else if _, ok := inv.index["/home"]; ok {
		return "/nonexistent", false // a link to nothing
	}
	_, taken := inv.index[home]
	return home, !taken
}

// setAccount appends a line to an account file, or makes the file.
func (inv *inventory) setAccount(a *account, p string, old []byte, first, line string) {
	if old == nil {
		a.added = append(a.added, rootfs.NewEntry{Path: p, Kind: rootfs.Regular, Metadata: rootfs.Metadata{Mode: 0o644}, Contents: []byte(first + line)})
		return
	}
	text := bytes.Clone(old)
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	canonical := p
	if res, err := inv.tree.Resolve(p); err == nil {
		canonical = res.Entry.Path
	}
	a.contents[canonical] = append(text, line...)
}

func unused(name string, taken func(string) bool) string {
	free := name
	for i := 1; taken(free); i++ {
		free = name + strconv.Itoa(i)
	}
	return free
}

func (inv *inventory) nologin() string {
	for _, p := range []string{"/usr/sbin/nologin", "/sbin/nologin", "/bin/false"} {
		if _, _, ok := inv.find(p); ok {
			return p
		}
	}
	return "/sbin/nologin"
}

// systemState are the directories of /var/lib that hold no service's data.
var systemState = []string{
	"/var/lib/alternatives", "/var/lib/ca-certificates", "/var/lib/misc", "/var/lib/pam", "/var/lib/polkit-1", "/var/lib/python",
	"/var/lib/python3", "/var/lib/selinux", "/var/lib/shells.state", "/var/lib/systemd", "/var/lib/vim", "/var/lib/xml-core",
}

// writable returns the entries that the image's user must own. For a user that
// the Dockerfile named, only what temper.yaml lists: its author has given it
// what it needs. For a user that hardening created: what a service that was
// meant to start as root writes to.
func (inv *inventory) writable(s spec.Settings, u spec.User) (owned []int, missing []string, err error) {
	set := map[int]bool{}
	takeTree := func(dir string) {
		if i, ok := inv.index[dir]; ok && inv.entries[i].Kind == rootfs.Directory {
			set[i] = true
			for _, j := range inv.below(dir) {
				set[j] = true
			}
		}
	}
	dirs := slices.Clone(s.Writable)
	if u.Created {
		dirs = append(dirs, s.Image.Volumes...)
	}
	for _, dir := range dirs {
		i, _, ok := inv.find(path.Clean(dir))
		switch {
		case !ok:
			missing = append(missing, path.Clean(dir))
		case inv.entries[i].Kind != rootfs.Directory:
			return nil, nil, &RuleError{Field: "harden.writable", Rule: dir, Why: "is not a directory"}
		case inv.entries[i].Path == "/":
			return nil, nil, &RuleError{Field: "harden.writable", Rule: dir, Why: "is the root directory: an image whose user owns everything is not hardened"}
		default:
			takeTree(inv.entries[i].Path)
		}
	}
	if u.Created {
		for _, dir := range []string{"/run", "/var/log", "/var/cache", "/var/spool"} {
			takeTree(dir)
		}
		if i, _, ok := inv.find("/var/lib"); ok {
			for _, c := range inv.tree.Children(inv.entries[i].Path) {
				if inv.isServiceState(inv.index[c.Path]) {
					takeTree(c.Path)
				}
			}
		}
	}
	for i := range set {
		owned = append(owned, i)
	}
	slices.Sort(owned)
	return owned, missing, nil
}

// isServiceState reports whether a directory of /var/lib belongs to a service
// rather than to the system: it is no system directory, and a package that is
// not part of every installation owns it, or none does.
func (inv *inventory) isServiceState(i int) bool {
	e := inv.entries[i]
	if e.Kind != rootfs.Directory || inAny(systemState, e.Path) || inManagerTree(e.Path) {
		return false
	}
	for _, o := range inv.owners[i] {
		pkg := inv.packages[o]
		if pkg.Essential || pkg.Priority == "required" {
			return false
		}
	}
	return true
}
