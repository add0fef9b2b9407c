package corpus

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/temper-images/temper/client/vulndb"
	"github.com/temper-images/temper/client/vulndb/vulndbtest"
	"github.com/temper-images/temper/integration/tools"
)

const (
	// maxChangelog bounds what is read of a changelog, in bytes.
	maxChangelog = 4 << 20
	// cvesPerSource bounds how many vulnerabilities a source package gets.
	cvesPerSource = 5
)

// dated is the time that the databases say they were built.
var dated = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// findings are what the scanners find in a runtime stage.
type findings struct {
	// dir holds the vulnerability database, db is where it is in Grype's own form.
	dir, db   string
	artifacts []artifact
	matches   []match
}

// artifact is a package that Syft finds.
type artifact struct {
	Name      string     `json:"name"`
	Version   string     `json:"version"`
	Type      string     `json:"type"`
	Locations []location `json:"locations"`
}

type location struct {
	Path        string            `json:"path"`
	Annotations map[string]string `json:"annotations"`
}

// match is a vulnerability that Grype finds in a package.
type match struct{ id, pkg, version string }

// scanRuntime makes a database out of the changelogs in a runtime stage and scans
// the stage.
func (r *Runner) scanRuntime(ctx context.Context, i *Instance, db *dpkg) (*findings, error) {
	dir, err := os.MkdirTemp(r.opt.Dir, "db-")
	if err != nil {
		return nil, err
	}
	f := &findings{dir: dir}
	built, err := vulndbtest.Build(filepath.Join(dir, "made"), dated, records(i.Root, db))
	if err != nil {
		return f, err
	}
	f.db = filepath.Join(dir, "cache")
	if _, err := vulndb.Import(ctx, vulndb.Options{Dir: f.db, MaxAge: -1, Offline: true}, built.Archive, dated); err != nil {
		return f, err
	}
	f.artifacts, f.matches, err = r.scan(ctx, i, f.db)
	return f, err
}

// remove gives the database up; f may be nil.
func (f *findings) remove() {
	if f != nil {
		os.RemoveAll(f.dir)
	}
}

// scanHardened compares what the scanners find in a hardened image with what is
// left of the packages of the runtime stage.
func (r *Runner) scanHardened(ctx context.Context, i *Instance, db *dpkg, runtime *findings) error {
	artifacts, matches, err := r.scan(ctx, i, runtime.db)
	if err != nil {
		return err
	}
	left := map[string]bool{}
	var want, got []string
	for _, p := range db.packages {
		if p.anyFile(i.Root) {
			left[p.name+" "+p.version] = true
			want = append(want, "deb "+p.name+" "+p.version)
		}
	}
	for _, a := range runtime.artifacts {
		if a.Type != "deb" && a.left(i.Root) {
			left[a.Name+" "+a.Version] = true
			want = append(want, a.String())
		}
	}
	for _, a := range artifacts {
		got = append(got, a.String())
	}
	var errs []error
	if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" {
		errs = append(errs, fmt.Errorf("packages with files, packages that Syft finds (-want +got):\n%s", diff))
	}
	want, got = nil, nil
	for _, m := range runtime.matches {
		if left[m.pkg+" "+m.version] {
			want = append(want, fmt.Sprint(m))
		}
	}
	for _, m := range matches {
		got = append(got, fmt.Sprint(m))
	}
	if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" {
		errs = append(errs, fmt.Errorf("vulnerabilities of packages with files, vulnerabilities that Grype finds (-want +got):\n%s", diff))
	}
	return errors.Join(errs...)
}

func sorted(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }

func (a artifact) String() string { return a.Type + " " + a.Name + " " + a.Version }

// left says that what Syft knows the package by is still there.
func (a artifact) left(root string) bool {
	for _, l := range a.Locations {
		if l.Annotations["evidence"] == "primary" {
			if _, err := os.Lstat(filepath.Join(root, l.Path)); err == nil {
				return true
			}
		}
	}
	return false
}

// scan runs the command lines of Syft and Grype on an image.
func (r *Runner) scan(ctx context.Context, i *Instance, db string) ([]artifact, []match, error) {
	dir, err := os.MkdirTemp(r.opt.Dir, "scan-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	path, err := layout.Write(filepath.Join(dir, "layout"), empty.Index)
	if err != nil {
		return nil, nil, err
	}
	if err := path.AppendImage(i.Image); err != nil {
		return nil, nil, err
	}
	subject := "oci-dir:" + filepath.Join(dir, "layout")
	var packages struct {
		Artifacts []artifact `json:"artifacts"`
	}
	if err := tool(ctx, dir, &packages, nil, "syft", "scan", subject, "--quiet", "--output", "json"); err != nil {
		return nil, nil, err
	}
	var found struct {
		Matches []struct {
			Vulnerability struct{ ID string }
			Artifact      struct{ Name, Version string }
		}
	}
	env := []string{"GRYPE_DB_CACHE_DIR=" + db, "GRYPE_DB_AUTO_UPDATE=false", "GRYPE_DB_VALIDATE_AGE=false"}
	if err := tool(ctx, dir, &found, env, "grype", subject, "--quiet", "--output", "json"); err != nil {
		return nil, nil, err
	}
	var matches []match
	for _, m := range found.Matches {
		matches = append(matches, match{m.Vulnerability.ID, m.Artifact.Name, m.Artifact.Version})
	}
	return packages.Artifacts, matches, nil
}

// tool runs a scanner and decodes what it prints.
func tool(ctx context.Context, dir string, into any, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, tools.Path(name), args...)
	cmd.Env = append(append(os.Environ(), "SYFT_CHECK_FOR_APP_UPDATE=false", "GRYPE_CHECK_FOR_APP_UPDATE=false",
		"XDG_CACHE_HOME="+dir, "XDG_CONFIG_HOME="+dir), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, stderr.String())
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("read what %s found: %w", name, err)
	}
	return nil
}

var cve = regexp.MustCompile(`CVE-(?:19|20)\d\d-\d{4,7}`)

// records knows the vulnerabilities that the changelogs name, as if none of them
// had been mended yet. A source package without any gets one of its own, so that
// each package has something to find.
func records(root string, db *dpkg) vulndbtest.Records {
	var out vulndbtest.Records
	seen := map[string]bool{}
	for _, p := range db.packages {
		source, version := p.sourcePackage()
		if seen[source] {
			continue
		}
		seen[source] = true
		ids := sorted(cve.FindAllString(p.changelog(root), -1))
		if len(ids) > cvesPerSource {
			ids = ids[len(ids)-cvesPerSource:]
		}
		if len(ids) == 0 {
			h := fnv.New32a()
			_, _ = h.Write([]byte(source))
			ids = []string{fmt.Sprintf("CVE-2020-%07d", h.Sum32()%10_000_000)}
		}
		for _, id := range ids {
			out.Debian = append(out.Debian, vulndbtest.Record{ID: id, Package: source, Fixed: version + "+more", FixDate: "2026-04-01", Severity: "High"})
		}
	}
	return out
}

// changelog reads a package's changelog; images without documentation have none.
func (p *dpkgPackage) changelog(root string) string {
	for _, name := range []string{"changelog.Debian.gz", "changelog.gz"} {
		f, err := os.Open(filepath.Join(root, "usr/share/doc", p.name, name))
		if err != nil {
			continue
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			continue
		}
		var text strings.Builder
		_, _ = io.Copy(&text, io.LimitReader(z, maxChangelog)) // a damaged one counts as far as it goes
		return text.String()
	}
	return ""
}

// sourcePackage is the source package with its version.
func (p *dpkgPackage) sourcePackage() (name, version string) {
	name, version, found := strings.Cut(p.source, " (")
	switch {
	case name == "":
		return p.name, p.version
	case !found:
		return name, p.version
	}
	return name, strings.TrimSuffix(version, ")")
}

// anyFile says that something of the package that is no directory is there.
func (p *dpkgPackage) anyFile(root string) bool {
	for _, file := range p.files {
		// A directory of the list may be a link to one: /lib is.
		path := filepath.Join(root, file)
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			continue
		}
		if _, err := os.Lstat(path); err == nil {
			return true
		}
	}
	return false
}
