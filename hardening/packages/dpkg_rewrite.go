package packages

import (
	"bytes"
	"context"
	"maps"
	"path"
	"slices"
	"strings"
)

// dpkgStore is the dpkg database below dir.
type dpkgStore struct {
	root FS
	dir  string
	// info and statusDir are the canonical paths of the directories info and
	// status.d, empty when absent.
	info, statusDir string
	// files are the files with stanzas.
	files []dpkgFile
}

// dpkgFile is a status file or a file in status.d.
type dpkgFile struct {
	// entry is its path in the database's directory and path its canonical
	// path, which differs when entry is a link.
	entry, path string
	// name is that of the file in status.d, empty for the status file.
	name string
}

// rewrite keeps the stanzas of the kept packages byte for byte, but for
// conffiles that are gone, and their list, md5sums and conffiles reduced to
// what remains: that is what scanners read, and what dpkg-query needs. The
// rest is state for installing packages, and goes.
func (s *dpkgStore) rewrite(ctx context.Context, kept []keptPackage) (*Rewrite, error) {
	rw := &Rewrite{}
	stays := map[string]bool{
		path.Join(s.dir, "info"):     true,
		path.Join(s.dir, "status.d"): true,
		path.Join(s.dir, "arch"):     true,
		path.Join(s.info, "format"):  true,
	}
	stanzas := map[string][]byte{}
	for _, k := range kept {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		r := k.record.(*dpkgRecord)
		raw := r.raw
		if k.FilesUnknown == "" {
			raw = dropConffiles(raw, func(listed string) bool {
				name, ok := r.actual(listed)
				return ok && k.paths[name]
			})
		}
		stanzas[r.file] = append(stanzas[r.file], raw...)
		s.rewriteLists(rw, stays, k, r)
	}
	for _, file := range s.files {
		dt := stanzas[file.path]
		if len(dt) == 0 && file.name != "" {
			continue
		}
		stays[file.entry] = true
		if err := s.replace(rw, file.path, dt); err != nil {
			return nil, err
		}
	}
	if dt, err := s.root.ReadFile(path.Join(s.dir, "diversions"), maxTextFile); err == nil && len(dt) > 0 {
		stays[path.Join(s.dir, "diversions")] = true
	}
	for _, dir := range []string{s.dir, s.info, s.statusDir} {
		if dir == "" {
			continue
		}
		gone, err := others(s.root, dir, func(name string) bool { return stays[path.Join(dir, name)] })
		if err != nil {
			return nil, err
		}
		rw.Remove = append(rw.Remove, gone...)
	}
	return rw, nil
}

// rewriteLists reduces the package's list, md5sums and conffiles to the kept
// paths. A list keeps its entry for the root directory. What cannot be read stays
// as it is.
func (s *dpkgStore) rewriteLists(rw *Rewrite, stays map[string]bool, k keptPackage, r *dpkgRecord) {
	for _, f := range []struct {
		file   string
		pathOf func(line string) string
	}{
		{r.list, func(line string) string { return line }},
		{r.md5sums, sumsPath},
		{r.conffiles, func(line string) string {
			// Flags such as remove-on-upgrade precede the path.
			return line[strings.LastIndexByte(line, ' ')+1:]
		}},
	} {
		if f.file == "" {
			continue
		}
		before, err := s.root.ReadFile(f.file, maxTextFile)
		if err != nil || k.FilesUnknown != "" {
			stays[f.file] = true
			continue
		}
		var after []byte
		for line := range bytes.Lines(before) {
			listed := f.pathOf(string(bytes.TrimSuffix(line, []byte("\n"))))
			name, ok := r.actual(listed)
			if (ok && k.paths[name]) || (f.file == r.list && listed == "/.") {
				after = append(after, line...)
			}
		}
		if len(after) == 0 && f.file != r.list {
			continue
		}
		stays[f.file] = true
		if !bytes.Equal(before, after) {
			rw.Files = append(rw.Files, File{Path: f.file, Like: f.file, Contents: after})
		}
	}
}

// replace adds new contents for a file unless it holds them already.
func (s *dpkgStore) replace(rw *Rewrite, file string, after []byte) error {
	before, err := s.root.ReadFile(file, maxTextFile)
	if err != nil {
		return err
	}
	if !bytes.Equal(before, after) {
		rw.Files = append(rw.Files, File{Path: file, Like: file, Contents: after})
	}
	return nil
}

func sortedKeys(set map[string]bool) []string {
	return slices.Sorted(maps.Keys(set))
}
