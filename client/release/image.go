package release

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	syftsbom "github.com/anchore/syft/syft/sbom"
	"golang.org/x/sync/errgroup"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/catalogue"
	"github.com/temper-images/temper/client/finding"
	"github.com/temper-images/temper/client/gate"
	"github.com/temper-images/temper/client/imagefs"
	"github.com/temper-images/temper/client/inspect"
	"github.com/temper-images/temper/client/sbom"
	"github.com/temper-images/temper/client/scan"
	"github.com/temper-images/temper/client/secretlint"
	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/client/vex"
	"github.com/temper-images/temper/client/vulndb"
	"github.com/temper-images/temper/frontend/config"
	"github.com/temper-images/temper/hardening/spec"
)

// examination is the work on one image.
type examination struct {
	Options
	img    *subject.Image
	src    *origin
	db     *pending
	vex    []*vex.Document
	report *spec.Report

	fsys      *imagefs.FS
	catalogue *syftsbom.SBOM

	// What each of the steps that run side by side gave.
	sboms, scans, inspections []artifact.Artifact
	vexOut                    []artifact.Artifact
	gateErr, inspectErr       error
	out                       *ImageEvidence
}

// examine catalogues an image once, and then writes its SBOMs, scans and inspects
// it side by side.
func (o Options) examine(ctx context.Context, img *subject.Image, db *pending, docs []*vex.Document, src *origin, p *past) (_ *ImageEvidence, err error) {
	x := &examination{Options: o, img: img, src: src, db: db, out: &ImageEvidence{Image: img}}
	if x.report, err = img.Report(ctx); err != nil {
		return nil, err
	}
	if err := x.learn(); err != nil {
		return nil, err
	}
	if x.out.buildkit, err = src.account(ctx, img); err != nil {
		return nil, err
	}
	if done, err := x.recall(ctx, p); done || err != nil {
		return x.out, err
	}
	if x.vex, err = x.statements(ctx, docs); err != nil {
		return nil, err
	}
	if err := x.index(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, x.fsys.Close()) }()
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return x.writeSBOMs(gctx) })
	group.Go(func() error { return x.scan(gctx) })
	group.Go(func() error { return x.inspect(gctx) })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	x.out.Documents = append(append(append(x.sboms, x.scans...), x.vexOut...), x.inspections...)
	if err := x.attached(); err != nil {
		return nil, err
	}
	x.out.policyErr = errors.Join(x.gateErr, x.inspectErr)
	return x.out, nil
}

// learn has the filter of all output know what is likely a secret in the image's
// variables. It is the inspection that says that it must not be there.
func (x *examination) learn() error {
	cfg, err := x.img.Image.ConfigFile()
	if err != nil {
		return err
	}
	var settings []secretlint.Setting
	for _, v := range cfg.Config.Env {
		name, value, _ := strings.Cut(v, "=")
		settings = append(settings, secretlint.Setting{Source: secretlint.Env, Name: name, Value: value})
	}
	return secretlint.Learn(settings, x.Known)
}

// AttachedVEX as a VEX document stands for those that are attached to the image.
// Nobody vouches for them, so they count only where somebody asks for them.
const AttachedVEX = "attached"

// statements are the VEX documents that count for the image.
func (x *examination) statements(ctx context.Context, docs []*vex.Document) ([]*vex.Document, error) {
	if !slices.Contains(x.VEX, AttachedVEX) {
		return docs, nil
	}
	attached, err := scan.AttachedVEX(ctx, x.img)
	return slices.Concat(docs, attached), err
}

// index reads the image once and catalogues it.
func (x *examination) index(ctx context.Context) error {
	catalogue.Warm()
	return x.Steps.Run(ctx, title(1, "catalogue", x.img), stage.Catalogue, func(ctx context.Context, s *stage.Step) (err error) {
		var size int64
		layers, err := x.img.Image.Layers()
		if err != nil {
			return err
		}
		for _, l := range layers {
			n, err := l.Size()
			if err != nil {
				return err
			}
			size += n
		}
		if x.fsys, err = imagefs.Open(ctx, x.img.Image, imagefs.Options{
			Uncompressed: x.src.uncompressed(), Progress: func(done, total int64) { s.Progress("reading layers", done, total) },
		}); err != nil {
			return err
		}
		if x.inspects() {
			// The catalogue may still wait for the texts of licences, and this for a processor.
			inspect.Warm()
		}
		o := catalogue.Options{Reference: x.img.Reference, Version: x.Version}
		if o.Reference == "" {
			o.Reference = x.img.Name
		}
		if x.catalogue, err = catalogue.Image(ctx, x.img.Image, x.fsys, o); err != nil {
			return errors.Join(err, x.fsys.Close())
		}
		s.Set(append(of(x.img), slog.Int("packages", x.catalogue.Artifacts.Packages.PackageCount()),
			slog.Int("files", x.fsys.Len()), slog.Int64("size_bytes", size))...)
		return nil
	})
}

func (x *examination) writeSBOMs(ctx context.Context) error {
	return x.Steps.Run(ctx, title(2, "write SBOMs", x.img), stage.SBOM, func(ctx context.Context, s *stage.Step) error {
		facts, err := x.facts(ctx)
		if err != nil {
			return err
		}
		c := x.Settings.SBOM
		x.sboms, err = sbom.Artifacts(x.catalogue, facts, sbom.Options{Formats: c.Formats, CycloneDX: c.CycloneDX, SPDX: c.SPDX})
		if err != nil {
			return err
		}
		s.Set(append(of(x.img), made(x.sboms)...)...)
		return nil
	})
}

func (x *examination) scan(ctx context.Context) error {
	if x.Settings.Scan.Gate == config.GateOff {
		return nil
	}
	db, err := x.db.get(ctx)
	if err != nil {
		return err
	}
	about, err := scan.About(x.img)
	if err != nil {
		return err
	}
	var found *scan.Result
	err = x.Steps.Run(ctx, title(3, "scan for vulnerabilities", x.img), stage.Scan, func(ctx context.Context, s *stage.Step) error {
		group, gctx := errgroup.WithContext(ctx)
		group.Go(func() error { return x.writeVEX(gctx, db) })
		group.Go(func() (err error) {
			if found, err = scan.Match(gctx, x.catalogue, db, scan.Options{VEX: x.vex, Image: about, Time: x.img.Created}); err != nil {
				return err
			}
			x.scans, err = found.Artifacts(x.img.Name, x.img.Arch(), x.img.Platform)
			return err
		})
		if err := group.Wait(); err != nil {
			return err
		}
		for _, w := range found.Warnings {
			s.Warn(w)
		}
		s.Set(append(of(x.img), scanFacts(found)...)...)
		s.Set(made(x.scans)...)
		return nil
	})
	if err != nil {
		return err
	}
	x.out.database = &found.Database
	return x.Steps.Run(ctx, title(4, "ask the vulnerability gate", x.img), stage.Gate, func(_ context.Context, s *stage.Step) error {
		return x.judge(s, found)
	})
}

// scanFacts counts findings.
func scanFacts(r *scan.Result) []slog.Attr {
	count := map[finding.Severity]int{}
	fixable, kev := 0, 0
	for _, f := range r.Findings {
		count[f.Severity]++
		if f.Fix.State == finding.FixAvailable {
			fixable++
		}
		if f.Exploited != nil {
			kev++
		}
	}
	return []slog.Attr{
		slog.Int("findings", len(r.Findings)), slog.Int("critical", count[finding.Critical]), slog.Int("high", count[finding.High]),
		slog.Int("medium", count[finding.Medium]), slog.Int("low", count[finding.Low]+count[finding.Negligible]+count[finding.Unknown]),
		slog.Int("fixable", fixable), slog.Int("kev", kev), slog.Int("suppressed", len(r.Excused)),
	}
}

// judge asks the vulnerability gate.
func (x *examination) judge(s *stage.Step, found *scan.Result) error {
	policy, err := gate.FromConfig(x.Settings.Scan)
	if err != nil {
		return err
	}
	r, err := gate.Judge(policy, gate.Input{
		Subject:  gate.Subject{Name: x.img.Name, Digest: string(x.img.Digest), Platform: x.img.Platform},
		Findings: found.Findings, Excused: found.Excused, Distribution: found.Distribution, Uncovered: found.Uncovered,
		Database: gate.Database{Built: found.Database.Built, Schema: found.Database.Schema, Archive: found.Database.Archive},
	}, x.Now())
	if err != nil {
		return err
	}
	a, err := r.Artifact(x.img.Name, x.img.Arch())
	if err != nil {
		return err
	}
	x.out.Gate, x.gateErr = r, r.Err()
	x.scans = append(x.scans, a)
	for _, w := range r.Warnings {
		s.Warn(w)
	}
	decision := "pass"
	switch {
	case !r.Passed:
		decision = "fail"
	case r.Counts.Counts > 0:
		decision = "warn"
		s.Warn(fmt.Sprintf("%d vulnerabilities count, and scan.gate says warn", r.Counts.Counts))
	}
	s.Set(append(of(x.img), slog.String("decision", decision), slog.Int("violations", r.Counts.Counts), slog.Int("exceptions", r.Counts.Excepted))...)
	return nil
}

// inspects says whether somebody asks for the inspection.
func (x *examination) inspects() bool {
	return x.Settings.Inspect.Gate != config.GateOff || x.Settings.Licences.Gate != config.GateOff
}

func (x *examination) inspect(ctx context.Context) error {
	if !x.inspects() {
		return nil
	}
	return x.Steps.Run(ctx, title(5, "inspect", x.img), stage.Inspect, func(ctx context.Context, s *stage.Step) error {
		doc, err := inspect.Run(ctx, x.img, x.fsys, x.catalogue, inspect.Options{
			Progress: func(done, total int) { s.Progress("searching for secrets", int64(done), int64(total)) },
			Policy:   inspect.FromConfig(x.Settings.Inspect, x.Settings.Licences), Now: x.Now(),
		})
		if err != nil {
			return err
		}
		a, err := doc.Artifact(x.img.Arch())
		if err != nil {
			return err
		}
		x.out.Inspection, x.inspectErr = doc, doc.Err()
		x.inspections = []artifact.Artifact{a}
		decision := "pass"
		switch {
		case x.inspectErr != nil:
			decision = "fail"
		case doc.Warnings() > 0:
			decision = "warn"
		}
		s.Set(append(of(x.img), slog.String("decision", decision), slog.Int("findings", len(doc.Findings)),
			slog.Int("secrets", doc.Secrets()), slog.Int("licences", doc.LicenceFindings()))...)
		return nil
	})
}

// writeVEX writes what hardening did to vulnerabilities.
func (x *examination) writeVEX(ctx context.Context, db *vulndb.Database) error {
	removed, err := scan.Removed(ctx, x.catalogue, x.report, db)
	if err != nil || len(removed) == 0 {
		return err
	}
	dt, err := vex.Write(vex.Report{
		Name: x.img.Name, Reference: x.img.Reference, Digest: x.img.Digest, Platform: x.img.Platform,
		Time: x.img.Created, Removed: removed,
	})
	if err != nil {
		return err
	}
	x.vexOut = []artifact.Artifact{{
		Kind: artifact.VEX, Name: documentName("vex", x.img, ".openvex.json"), MediaType: artifact.TypeJSON,
		PredicateType: vex.PredicateType, Platform: x.img.Platform, Data: dt,
	}}
	return nil
}

// attached adds what the build attached to the image and what the builder says of
// the build.
func (x *examination) attached() error {
	if x.report != nil {
		dt, err := x.report.Marshal()
		if err != nil {
			return err
		}
		x.out.Documents = append(x.out.Documents, artifact.Artifact{
			Kind: artifact.Hardening, Name: documentName("hardening", x.img, ".json"), MediaType: artifact.TypeJSON,
			PredicateType: spec.PredicateType, Platform: x.img.Platform, Data: dt,
		})
	}
	if b := x.out.buildkit; b != nil {
		x.out.Documents = append(x.out.Documents, artifact.Artifact{
			Kind: artifact.Attestation, Name: documentName("buildkit", x.img, ".provenance.json"), MediaType: artifact.TypeJSON,
			PredicateType: b.PredicateType, Platform: x.img.Platform,
			// It has the Dockerfile and every command and variable of the build.
			Data: x.Known.Bytes(b.Document),
		})
	}
	return nil
}
