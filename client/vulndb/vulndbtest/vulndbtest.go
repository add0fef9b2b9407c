// Package vulndbtest builds vulnerability databases for tests with Grype's own
// builder, out of records that the test knows.
package vulndbtest

import (
	"archive/tar"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/anchore/grype/grype/db"
	"github.com/anchore/grype/grype/db/provider"
	v6 "github.com/anchore/grype/grype/db/v6"
	"github.com/anchore/grype/grype/db/v6/distribution"
	"github.com/klauspost/compress/zstd"
)

// Record is what a database knows of one vulnerability in one source package of
// Debian.
type Record struct {
	// ID is "CVE-2025-0001".
	ID string
	// Release is Debian's, "12". Empty means 12.
	Release string
	// Package is the source package.
	Package string
	// Fixed is the first version without the vulnerability; empty when there is none.
	Fixed string
	// FixDate is the day on which that version was there, "2025-01-31", or empty.
	FixDate string
	// Severity is "Critical", "High", "Medium", "Low" or "Negligible".
	Severity string
	// EPSS is the probability of exploitation, from 0 to 1. Zero leaves it out.
	EPSS float64
	// KEV is the day on which the vulnerability was listed as exploited, or empty.
	KEV string
}

// GoRecord is what a database knows of one vulnerability in one Go module.
type GoRecord struct {
	// ID is "GO-2025-0001"; Alias is its CVE.
	ID, Alias string
	Module    string
	// Fixed is the first version without the vulnerability, "1.2.3".
	Fixed string
}

// Records are the contents of a database.
type Records struct {
	Debian []Record
	Go     []GoRecord
}

// Database is a built database, as a server publishes it.
type Database struct {
	// Dir holds latest.json and the archive.
	Dir string
	// Archive is the path of the archive in Dir.
	Archive string
	// File is the database that is in the archive.
	File string
	// Built is the time that the database says it was built.
	Built time.Time
}

// schemas are where the builder expects to find which kind of record one is.
const schemas = "https://raw.githubusercontent.com/anchore/vunnel/main/schema/"

// Build makes a database in dir, which is created.
func Build(dir string, built time.Time, records Records) (*Database, error) {
	built = built.UTC().Truncate(time.Second)
	work := filepath.Join(dir, "work")
	states, err := workspaces(filepath.Join(work, "providers"), built, records)
	if err != nil {
		return nil, fmt.Errorf("write records: %w", err)
	}
	dbDir := filepath.Join(work, "db")
	if err := db.Build(db.BuildConfig{
		SchemaVersion: v6.ModelVersion, Directory: dbDir, States: states, Timestamp: built,
		IncludeCPEParts: []string{"a"}, BatchSize: 500,
	}); err != nil {
		return nil, fmt.Errorf("build database: %w", err)
	}
	d := &Database{Dir: dir, File: filepath.Join(dbDir, v6.VulnerabilityDBFileName), Built: built}
	if err := d.date(); err != nil {
		return nil, fmt.Errorf("date database: %w", err)
	}
	if err := d.publish(); err != nil {
		return nil, fmt.Errorf("publish database: %w", err)
	}
	return d, nil
}

// date gives the database the time that the caller wants; the builder takes the
// clock's. Grype registers the driver.
func (d *Database) date() (err error) {
	handle, err := sql.Open("sqlite", d.File)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, handle.Close()) }()
	_, err = handle.Exec("UPDATE db_metadata SET build_timestamp = ?", d.Built)
	return err
}

func (d *Database) publish() error {
	d.Archive = filepath.Join(d.Dir, fmt.Sprintf("vulnerability-db_v%d.%d.%d_%d.tar.zst", v6.ModelVersion, v6.Revision, v6.Addition, d.Built.Unix()))
	if err := writeArchive(d.Archive, d.File); err != nil {
		return err
	}
	a, err := distribution.NewArchive(d.Archive, d.Built, v6.ModelVersion, v6.Revision, v6.Addition)
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(d.Dir, distribution.LatestFileName))
	if err != nil {
		return err
	}
	return errors.Join(distribution.NewLatestDocument(*a).Write(f), f.Close())
}

func writeArchive(archive, file string) (err error) {
	out, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	z, err := zstd.NewWriter(out)
	if err != nil {
		return err
	}
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: filepath.Base(file), Mode: 0o644, Size: fi.Size()}); err != nil {
		return err
	}
	if _, err := io.Copy(w, in); err != nil {
		return err
	}
	return errors.Join(w.Close(), z.Close())
}

type object = map[string]any

// workspaces writes the records as the collector of Grype's database leaves them.
func workspaces(dir string, built time.Time, r Records) (provider.States, error) {
	var states provider.States
	add := func(name, schema string, items map[string]any) error {
		if len(items) == 0 {
			return nil
		}
		w := provider.NewWorkspaceWriter(dir, name)
		for id, item := range items {
			dt, err := json.Marshal(object{"schema": schemas + schema, "identifier": id, "item": item})
			if err != nil {
				return err
			}
			if _, err := w.WriteResult(strings.ReplaceAll(strings.ToLower(id), "/", "_")+".json", dt); err != nil {
				return err
			}
		}
		ws := provider.NewWorkspace(dir, name)
		if err := ws.EnsureListingFile(); err != nil {
			return err
		}
		if err := w.WriteState(provider.State{
			Provider: name, Version: 1, DistributionVersion: 1, Processor: "vunnel@0.54.0", Store: "flat-file", Timestamp: built,
			Schema:  provider.Schema{Version: "1.0.3", URL: schemas + "provider-workspace-state/schema-1.0.3.json"},
			Listing: &provider.File{Path: "results/listing.xxh64", Digest: "0", Algorithm: "xxh64"},
		}); err != nil {
			return err
		}
		state, err := ws.ReadState()
		if err != nil {
			return err
		}
		states = append(states, *state)
		return nil
	}
	epss, kev := r.decorations(built)
	return states, errors.Join(
		add("debian", "vulnerability/os/schema-1.0.3.json", r.debian()),
		add("govulndb", "vulnerability/osv/schema-1.5.0.json", r.golang(built)),
		add("kev", "vulnerability/known-exploited/schema-1.0.0.json", kev),
		add("epss", "vulnerability/epss/schema-1.0.0.json", epss),
	)
}

func (r Records) debian() map[string]any {
	items := map[string]any{}
	for _, rec := range r.Debian {
		release := rec.Release
		if release == "" {
			release = "12"
		}
		space := "debian:" + release
		fix := object{
			"Name": rec.Package, "NamespaceName": space, "Version": rec.Fixed, "VersionFormat": "dpkg",
			"VendorAdvisory": object{"AdvisorySummary": []any{}, "NoAdvisory": false},
		}
		if rec.Fixed == "" {
			fix["Version"] = "None"
		}
		if rec.FixDate != "" {
			fix["Available"] = object{"Date": rec.FixDate, "Kind": "advisory"}
		}
		key := space + "/" + rec.ID
		if items[key] == nil {
			items[key] = object{"Vulnerability": object{
				"CVSS": []any{}, "Description": "A flaw in " + rec.Package + ".", "FixedIn": []any{},
				"Link":     "https://security-tracker.debian.org/tracker/" + rec.ID,
				"Metadata": object{}, "Name": rec.ID, "NamespaceName": space, "Severity": rec.Severity,
			}}
		}
		v := items[key].(object)["Vulnerability"].(object)
		v["FixedIn"] = append(v["FixedIn"].([]any), fix)
	}
	return items
}

func (r Records) golang(built time.Time) map[string]any {
	items := map[string]any{}
	for _, rec := range r.Go {
		at := built.AddDate(0, -1, 0).Format(time.RFC3339)
		items[rec.ID] = object{
			"schema_version": "1.5.0", "id": rec.ID, "modified": at, "published": at, "aliases": []string{rec.Alias},
			"summary": "A flaw in " + rec.Module + ".", "details": "A flaw in " + rec.Module + ".",
			"affected": []any{object{
				"package": object{"name": rec.Module, "ecosystem": "Go"},
				"ranges":  []any{object{"type": "SEMVER", "events": []any{object{"introduced": "0"}, object{"fixed": rec.Fixed}}}},
			}},
			"database_specific": object{"url": "https://pkg.go.dev/vuln/" + rec.ID, "review_status": "REVIEWED"},
		}
	}
	return items
}

func (r Records) decorations(built time.Time) (epss, kev map[string]any) {
	epss, kev = map[string]any{}, map[string]any{}
	for _, rec := range r.Debian {
		if rec.EPSS > 0 {
			epss[rec.ID] = object{"cve": rec.ID, "epss": rec.EPSS, "percentile": 0.5 + rec.EPSS/2, "date": built.Format(time.DateOnly)}
		}
		if rec.KEV != "" {
			kev[rec.ID] = object{
				"cveID": rec.ID, "vendorProject": "Debian", "product": rec.Package, "vulnerabilityName": rec.ID, "dateAdded": rec.KEV,
				"shortDescription": "Exploited.", "requiredAction": "Apply updates.", "dueDate": "", "knownRansomwareCampaignUse": "Unknown",
			}
		}
	}
	return epss, kev
}
