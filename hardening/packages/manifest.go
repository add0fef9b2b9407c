package packages

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// manifestLocations are the directories of the text manifests that distroless
// images of Azure Linux have in the place of an rpm database.
var manifestLocations = []string{"/var/lib/rpmmanifest"}

// loadManifest reads container-manifest-2, the manifest that scanners read.
func (l *loader) loadManifest(dir string) *Database {
	file := path.Join(dir, "container-manifest-2")
	dt, _, err := l.read(file, maxTextFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	db := &Database{Type: TypeRPM, Location: dir, store: manifestStore{}}
	if err != nil {
		db.Damaged = fmt.Sprintf("%s: %v", file, err)
		l.noticef(file, "%s: the package manifest cannot be read: %v", file, err)
		return db
	}
	for line := range strings.Lines(string(dt)) {
		line = strings.TrimSuffix(line, "\n")
		p, ok := parseManifestLine(line)
		if !ok {
			if line != "" {
				l.noticef(file, "%s: a line is not understood: %.100q", file, line)
			}
			continue
		}
		db.Packages = append(db.Packages, p)
		if l.ctx.Err() != nil {
			break
		}
	}
	return db
}

// parseManifestLine reads the ten fields that rpm printed: name, version and
// release, times of installation and build, vendor, epoch, size, architecture,
// epoch as a number, source package.
func parseManifestLine(line string) (*Package, bool) {
	f := strings.Split(line, "\t")
	if len(f) < 10 || f[0] == "" {
		return nil, false
	}
	p := &Package{
		Type: TypeRPM, Name: f[0], Version: f[1], Arch: f[7], Source: f[9],
		FilesUnknown: "a manifest lists no files",
	}
	if f[5] != "(none)" && f[5] != "" {
		p.Version = f[5] + ":" + p.Version
	}
	return p, true
}

// manifestStore is a manifest. It says nothing of files, so every record stays.
type manifestStore struct{}

func (manifestStore) rewrite(context.Context, []keptPackage) (*Rewrite, error) {
	return &Rewrite{}, nil
}
