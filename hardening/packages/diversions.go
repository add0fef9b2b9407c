package packages

import (
	"errors"
	"io/fs"
	"path"
	"strings"
)

// diversion says that a path belongs to one package and is moved aside for all
// others (dpkg-divert(1)).
type diversion struct {
	from, to string
	// owner is the package that is not diverted, or ":" for none.
	owner string
}

// readDiversions reads dpkg's file diversions, by the path they divert.
func (d *dpkgLoader) readDiversions() map[string]diversion {
	file := path.Join(d.db.Location, "diversions")
	dt, _, err := d.read(file, maxTextFile)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			d.noticef(file, "%s: not read, so that some files may lie under other names: %v", file, err)
		}
		return nil
	}
	diversions, malformed := parseDiversions(string(dt))
	if malformed > 0 {
		d.noticef(file, "%s: %d entries are not understood", file, malformed)
	}
	byPath := make(map[string]diversion, len(diversions))
	for _, div := range diversions {
		byPath[div.from] = div
	}
	return byPath
}

// parseDiversions reads records of three lines: from, to, owner.
func parseDiversions(text string) (diversions []diversion, malformed int) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if text == "" {
		return nil, 0
	}
	for len(lines) >= 3 {
		from, okFrom := cleanPath(lines[0])
		to, okTo := cleanPath(lines[1])
		if okFrom && okTo && lines[2] != "" {
			diversions = append(diversions, diversion{from, to, lines[2]})
		} else {
			malformed++
		}
		lines = lines[3:]
	}
	if len(lines) > 0 {
		malformed++
	}
	return diversions, malformed
}
