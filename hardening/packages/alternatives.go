package packages

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// alternativesLocations are the administrative directories of
// update-alternatives in Debian, in Fedora and SUSE, and in older SUSE.
var alternativesLocations = []string{"/var/lib/dpkg/alternatives", "/var/lib/alternatives", "/var/lib/rpm/alternatives"}

// Alternative is a pair of symbolic links that update-alternatives made and no
// package lists. They belong to whatever they lead to.
type Alternative struct {
	// Link is the public path, such as /usr/bin/awk.
	Link string
	// Via is the link in /etc/alternatives that Link points to.
	Via string
}

// Alternatives returns the links that update-alternatives says it made, masters
// and slaves, with notices about what could not be read. The links themselves
// need not exist. The error is only ever that of ctx.
func Alternatives(ctx context.Context, root FS) ([]Alternative, []string, error) {
	l := newLoader(ctx, root)
	var all []Alternative
	l.each(alternativesLocations, func(dir string) *Database {
		names, err := root.ReadDir(dir)
		if err != nil {
			l.noticef(dir, "%s: not read: %v", dir, err)
		}
		for _, name := range names {
			file := path.Join(dir, name)
			dt, _, err := l.read(file, maxTextFile)
			if err != nil {
				if !errors.Is(err, fs.ErrNotExist) {
					l.noticef(dir, "%s: not read: %v", file, err)
				}
				continue
			}
			links, ok := parseAlternative(name, string(dt))
			if !ok {
				l.noticef(dir, "%s: not understood", file)
			}
			all = append(all, links...)
			if ctx.Err() != nil {
				break
			}
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil, nil, fmt.Errorf("read alternatives: %w", context.Cause(ctx))
	}
	return all, l.notices, nil
}

// parseAlternative reads the head of an administrative file: "auto" or
// "manual", the master's link, then pairs of a slave's name and link up to an
// empty line.
func parseAlternative(name, text string) (links []Alternative, ok bool) {
	lines := strings.Split(text, "\n")
	if len(lines) < 3 || (lines[0] != "auto" && lines[0] != "manual") {
		return nil, false
	}
	add := func(name, link string) bool {
		clean, ok := cleanPath(link)
		if !ok || name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
			return false
		}
		links = append(links, Alternative{Link: clean, Via: "/etc/alternatives/" + name})
		return true
	}
	if !add(name, lines[1]) {
		return nil, false
	}
	for lines = lines[2:]; len(lines) >= 2 && lines[0] != ""; lines = lines[2:] {
		if !add(lines[0], lines[1]) {
			return links, false
		}
	}
	return links, true
}
