package linkage

import (
	"path"
	"slices"
	"strings"
)

// Limits on ld.so.conf and what it includes.
const (
	maxConf      = 1 << 20 // bytes of one file
	maxConfFiles = 1024
	maxConfDirs  = 4096
	maxConfDepth = 16
	maxConfNames = 4 << 20 // names that patterns are compared with
)

// confReader reads ld.so.conf as ldconfig(8) does.
type confReader struct {
	fs    FS
	seen  map[string]bool // by canonical path, so that a file that includes itself ends
	dirs  []string
	names int // compared with patterns
	warns []string
}

// readConf returns the directories that file and the files it includes name, in
// their order, and what was wrong with them. A file that is absent is empty.
func readConf(fs FS, file string) (dirs, warnings []string) {
	c := &confReader{fs: fs, seen: map[string]bool{}}
	c.read(file, 0)
	return c.dirs, c.warns
}

func (c *confReader) read(file string, depth int) {
	canonical, _, err := c.fs.Resolve(file)
	if err != nil || c.seen[canonical] || depth > maxConfDepth || len(c.seen) == maxConfFiles {
		return
	}
	c.seen[canonical] = true
	dt, err := c.fs.ReadFile(canonical, maxConf)
	if err != nil {
		c.warns = append(c.warns, file+" was passed over: "+err.Error())
		return
	}
	for line := range strings.SplitSeq(string(dt), "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "hwcap":
		case words[0] == "include":
			for _, pattern := range words[1:] {
				if !path.IsAbs(pattern) {
					pattern = path.Join(path.Dir(file), pattern)
				}
				for _, included := range c.glob(pattern) {
					c.read(included, depth+1)
				}
			}
		default:
			// "DIRECTORY=TYPE" names the C library that it was made for.
			dir, _, _ := strings.Cut(strings.TrimSpace(line), "=")
			if path.IsAbs(dir) && len(dir) <= maxName && len(c.dirs) < maxConfDirs {
				c.dirs = append(c.dirs, strings.TrimRight(dir, "/"))
			}
		}
	}
}

// glob returns the paths that match an absolute pattern, sorted.
func (c *confReader) glob(pattern string) []string {
	if len(pattern) > maxName {
		return nil
	}
	found := []string{""}
	for part := range strings.SplitSeq(strings.Trim(pattern, "/"), "/") {
		var next []string
		for _, base := range found {
			next = append(next, c.match(base, part)...)
			if len(next) > maxConfFiles {
				next = next[:maxConfFiles]
				break
			}
		}
		found = next
	}
	return found
}

func (c *confReader) match(base, part string) []string {
	if !strings.ContainsAny(part, `*?[\`) {
		return []string{base + "/" + part}
	}
	canonical, _, err := c.fs.Resolve(base + "/")
	if err != nil {
		return nil
	}
	if c.names > maxConfNames {
		return nil
	}
	names, err := c.fs.ReadDir(canonical)
	if err != nil {
		return nil
	}
	c.names += len(names)
	var found []string
	for _, name := range slices.Sorted(slices.Values(names)) {
		if strings.HasPrefix(name, ".") && !strings.HasPrefix(part, ".") {
			continue
		}
		if ok, err := path.Match(part, name); err == nil && ok {
			found = append(found, base+"/"+name)
		}
	}
	return found
}
