package base

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// apt is the part of the machine's apt configuration that says where Debian's
// packages come from.
type apt struct {
	codename string
	// sources holds the package sources of the release, in the form of
	// sources.list(5): one-line entries, or deb822 paragraphs.
	lines  []string
	deb822 []string
	// options are the settings that the machine needs to reach its sources, as
	// lines of apt.conf(5).
	options []string
}

// carried are the apt settings that decide whether a source can be reached and
// believed; the others are the machine's own business.
var carried = []string{
	"Acquire::http::", "Acquire::https::", "Acquire::ftp::",
	"Acquire::Check-Valid-Until", "Acquire::Check-Date", "Acquire::Max-ValidTime", "Acquire::Min-ValidTime",
	"Acquire::Retries", "Acquire::ForceIPv4", "Acquire::ForceIPv6",
}

// machineApt reads the configuration of the machine, which must be a Debian.
func machineApt(ctx context.Context) (*apt, error) {
	codename, err := releaseCodename("/etc/os-release")
	if err != nil {
		return nil, err
	}
	a := &apt{codename: codename}

	files, err := filepath.Glob("/etc/apt/sources.list.d/*")
	if err != nil {
		return nil, fmt.Errorf("list apt sources: %w", err)
	}
	for _, file := range append([]string{"/etc/apt/sources.list"}, files...) {
		dt, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read apt sources: %w", err)
		}
		switch filepath.Ext(file) {
		case ".list":
			a.lines = append(a.lines, releaseLines(string(dt), codename)...)
		case ".sources":
			a.deb822 = append(a.deb822, releaseParagraphs(string(dt), codename)...)
		}
	}
	if len(a.lines)+len(a.deb822) == 0 {
		return nil, fmt.Errorf("no package source for Debian %s in /etc/apt/sources.list or /etc/apt/sources.list.d: add one", codename)
	}

	dump, err := run(ctx, "", nil, "apt-config", "dump", "--format", `%F "%v";%n`)
	if err != nil {
		return nil, fmt.Errorf("read the machine's apt settings: %w", err)
	}
	for line := range strings.Lines(dump) {
		if slices.ContainsFunc(carried, func(p string) bool { return strings.HasPrefix(line, p) }) {
			a.options = append(a.options, strings.TrimSpace(line))
		}
	}
	return a, nil
}

// inputs is everything that this configuration adds to a base image.
func (a *apt) inputs() []string {
	return slices.Concat([]string{a.codename}, a.lines, a.deb822, a.options)
}

// https says that some source needs certificates.
func (a *apt) https() bool {
	return strings.Contains(strings.Join(slices.Concat(a.lines, a.deb822), "\n"), "https://")
}

// write stores the sources below dir and returns the files' names.
func (a *apt) write(dir string) ([]string, error) {
	var files []string
	for name, content := range map[string]string{
		"debian.list":    strings.Join(a.lines, "\n"),
		"debian.sources": strings.Join(a.deb822, "\n\n"),
	} {
		if content == "" {
			continue
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content+"\n"), 0o644); err != nil {
			return nil, fmt.Errorf("write apt sources: %w", err)
		}
		files = append(files, file)
	}
	slices.Sort(files)
	return files, nil
}

// releaseCodename reads VERSION_CODENAME of an os-release(5) file.
func releaseCodename(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("find the Debian release of this machine: %w", err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		if v, ok := strings.CutPrefix(sc.Text(), "VERSION_CODENAME="); ok {
			return strings.Trim(v, `"`), nil
		}
	}
	return "", fmt.Errorf("find the Debian release of this machine: no VERSION_CODENAME in %s (%w)", file, errors.ErrUnsupported)
}

// releaseLines picks the entries of a one-line-style file whose suite belongs to
// the release.
func releaseLines(text, codename string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0] != "deb" {
			continue
		}
		rest := fields[1:]
		for len(rest) > 0 && !strings.Contains(rest[0], "://") {
			rest = rest[1:]
		}
		if len(rest) > 2 && ofRelease(rest[1], codename) && slices.Contains(rest[2:], "main") {
			lines = append(lines, line)
		}
	}
	return lines
}

// releaseParagraphs picks the paragraphs of a deb822-style file whose suites
// belong to the release.
func releaseParagraphs(text, codename string) []string {
	var kept []string
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		suites, main, enabled := []string(nil), false, true
		var body []string
		for line := range strings.Lines(paragraph) {
			line = strings.TrimRight(line, "\n")
			if strings.HasPrefix(line, "#") {
				continue
			}
			body = append(body, line)
			key, value, _ := strings.Cut(line, ":")
			switch strings.ToLower(key) {
			case "suites":
				suites = strings.Fields(value)
			case "components":
				main = slices.Contains(strings.Fields(value), "main")
			case "enabled":
				enabled = strings.TrimSpace(value) != "no"
			}
		}
		all := !slices.ContainsFunc(suites, func(s string) bool { return !ofRelease(s, codename) })
		if len(suites) > 0 && all && main && enabled {
			kept = append(kept, strings.TrimSpace(strings.Join(body, "\n")))
		}
	}
	return kept
}

// ofRelease says that a suite is the release or one of its companions, such as
// its updates or security updates.
func ofRelease(suite, codename string) bool {
	return suite == codename || strings.HasPrefix(suite, codename+"-") || strings.HasPrefix(suite, codename+"/")
}
