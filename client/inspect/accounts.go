package inspect

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
)

// Bounds of account databases.
const (
	maxAccountFile = 4 << 20
	maxAccounts    = 20_000
)

// account is a line of /etc/passwd (passwd(5)).
type account struct {
	name, password string
	uid            int
}

// accounts judges whom the image runs as, and passwords.
func (in *inspection) accounts() error {
	passwd, err := in.lines("/etc/passwd")
	if err != nil {
		return err
	}
	shadow, err := in.lines("/etc/shadow")
	if err != nil {
		return err
	}
	in.user(readPasswd(passwd))
	for _, a := range readPasswd(passwd) {
		// "x" means that the password is in /etc/shadow.
		if a.password != "x" {
			in.password("/etc/passwd", a.name, a.password)
		}
	}
	for _, line := range shadow {
		if f := strings.Split(line, ":"); len(f) > 1 {
			in.password("/etc/shadow", f[0], f[1])
		}
	}
	return nil
}

// password judges a password field: empty, a hash, or something that no password
// can have (shadow(5), crypt(5)).
func (in *inspection) password(file, name, field string) {
	s := Subject{Kind: Account, Name: name}
	switch {
	case field == "":
		in.add(ruleEmptyPassword, s, "", fmt.Sprintf("the account %s has no password in %s, so that everybody can log in", show(name), file))
	case strings.HasPrefix(field, "$") || len(field) == 13 && !strings.ContainsAny(field, "*!"):
		in.add(rulePassword, s, "", fmt.Sprintf("the account %s has a password in %s", show(name), file))
	}
}

// user judges the user of the configuration: a name or number, and a group that
// may follow it.
func (in *inspection) user(accounts []account) {
	s := Subject{Kind: ConfigField, Name: "User"}
	name, _, _ := strings.Cut(in.cfg.Config.User, ":")
	uid, err := strconv.Atoi(name)
	switch {
	case name == "":
		in.add(ruleRoot, s, "", "the image names no user, so that it runs as root")
		return
	case err == nil && uid == 0:
		in.add(ruleRoot, s, "", "the image runs as user 0, who is root")
		return
	case err == nil:
		return
	}
	in.add(ruleUserName, s, "", fmt.Sprintf("the image runs as %s, by name", show(name)))
	for _, a := range accounts {
		if a.name != name {
			continue
		}
		if a.uid == 0 {
			in.add(ruleRoot, s, "", fmt.Sprintf("the image runs as %s, who is root by /etc/passwd", show(name)))
		}
		return
	}
	in.add(ruleUnknownUser, s, "", fmt.Sprintf("the image runs as %s, whom /etc/passwd does not know: it does not start", show(name)))
}

func readPasswd(lines []string) []account {
	var out []account
	for _, line := range lines {
		f := strings.Split(line, ":")
		if len(f) < 4 {
			continue
		}
		uid, err := strconv.Atoi(f[2])
		if err != nil {
			continue
		}
		out = append(out, account{name: f[0], password: f[1], uid: uid})
	}
	return out
}

// lines reads an account database. One that is not there has no lines.
func (in *inspection) lines(name string) (_ []string, err error) {
	e, ok := in.fsys.Resolve(name)
	if !ok || !e.Mode.IsRegular() {
		return nil, nil
	}
	rc, err := in.fsys.Open(e.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	dt, err := io.ReadAll(io.LimitReader(rc, maxAccountFile))
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(dt)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if out = append(out, line); len(out) == maxAccounts {
			break
		}
	}
	return out, nil
}
