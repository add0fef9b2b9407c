package release

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/gate"
	"github.com/temper-images/temper/client/inspect"
	"github.com/temper-images/temper/client/journal"
	"github.com/temper-images/temper/client/provenance"
	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/scan"
	"github.com/temper-images/temper/client/signing"
	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/client/vex"
)

// past is what an earlier run of this release made: one with the same images, rules,
// source and vulnerability database, on the same day. A run that was killed goes on
// where it was, and one that changes nothing makes nothing anew. Its methods can be
// called on nil, which remembers nothing.
type past struct {
	journal *journal.Journal
	fresh   bool
}

// kept bounds how many journals of other releases stay: each holds the documents of
// one release, some megabytes.
const kept = 20

// openPast opens the journal of this release. Evidence about an image that somebody
// else built has none, and neither has a release whose inputs cannot be told.
func (o Options) openPast(ctx context.Context, set *subject.Set, db *pending, docs []*vex.Document, src *origin) (*past, error) {
	if src == nil || o.Settings.SBOM.Context || o.Push != nil && o.Push.DryRun {
		return nil, nil
	}
	found, err := db.get(ctx)
	if err != nil {
		return nil, err
	}
	archive := ""
	if found != nil {
		archive = found.Archive
	}
	inputs, err := o.inputs(set, archive, docs, src)
	if err != nil {
		return nil, err
	}
	p := &past{fresh: o.Fresh}
	err = o.Steps.Run(ctx, "[evidence] open the journal", stage.Journal, func(ctx context.Context, s *stage.Step) error {
		j, err := journal.Open(ctx, journal.ID(inputs...), journal.Options{
			Dir: o.State, Now: o.Now(), Keep: kept, Notice: func(text string) { s.Log(text) },
			Owner: "temper release " + cmp.Or(set.Images[0].Reference, set.Spec),
		})
		switch {
		case err == nil:
			p.journal = j
			s.Set(slog.String("release", j.ID()), slog.Bool("complete", j.Completed()))
		case ctx.Err() != nil:
			return err
		default:
			// Releases are made without it too, on machines that keep nothing.
			s.Warn(fmt.Sprintf("%v: if this release is killed, the next one begins anew; XDG_STATE_HOME names another directory", err))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// inputs are everything that decides what is made of the images.
func (o Options) inputs(set *subject.Set, database string, docs []*vex.Document, src *origin) ([]string, error) {
	rules, err := o.Settings.Encode()
	if err != nil {
		return nil, err
	}
	in := []string{"1", o.Version, executable(o.Version), string(rules), database, o.Now().UTC().Format(time.DateOnly)}
	for _, img := range set.Images {
		in = append(in, img.Platform, string(img.Digest), string(img.Index), img.Name, img.Reference)
	}
	in = append(in, src.request.Tags...)
	in = append(in, "vex", strconv.FormatBool(len(o.VEX) > 0))
	in = append(in, o.VEX...)
	for _, d := range docs {
		in = append(in, string(d.Digest))
	}
	in = append(in, "source", src.request.Target, src.dockerfile.path, digest.FromBytes(src.dockerfile.text).String())
	if f := src.ci; f != nil {
		in = append(in, string(f.Platform), f.Repository, f.Commit, f.Ref, f.Workflow, f.BuilderID, f.Issuer, f.Subject)
		if c := f.Checkout; c != nil {
			in = append(in, c.Repository, c.Commit, c.Ref, strconv.FormatBool(c.Dirty), c.Dir)
		}
	}
	in = append(in, "builder", src.builderKind, src.buildkit)
	if src.frontend != nil {
		in = append(in, src.frontend.Ref, string(src.frontend.Digest))
	}
	for _, s := range src.stages {
		dt, err := os.ReadFile(s.dir + "/index.json")
		if err != nil {
			return nil, err
		}
		in = append(in, s.name, digest.FromBytes(dt).String())
	}
	return in, nil
}

// executable tells builds apart that have no version.
func executable(version string) string {
	if version != "" && version != "devel" && !strings.Contains(version, "dirty") {
		return ""
	}
	name, err := os.Executable()
	if err != nil {
		return ""
	}
	fi, err := os.Stat(name)
	if err != nil {
		return ""
	}
	return fmt.Sprint(fi.Size(), fi.ModTime().UnixNano())
}

func (p *past) journalOf() *journal.Journal {
	if p == nil {
		return nil
	}
	return p.journal
}

// get is what was kept under a name, or nil.
func (p *past) get(name string) []byte {
	if p == nil || p.journal == nil || p.fresh {
		return nil
	}
	dt, err := p.journal.Get(name)
	if err != nil {
		return nil
	}
	return dt
}

// put keeps something under a name. What the journal has no room for is made again.
func (p *past) put(name string, dt []byte) error {
	if p == nil || p.journal == nil || len(dt) > maxKept {
		return nil
	}
	return p.journal.Put(name, dt)
}

// putAll keeps several files. What the journal has no room for is made again.
func (p *past) putAll(files []journal.File) error {
	if p == nil || p.journal == nil {
		return nil
	}
	return p.journal.PutAll(slices.DeleteFunc(files, func(f journal.File) bool { return len(f.Data) > maxKept })...)
}

// maxKept is the largest file that a journal takes, in bytes.
const maxKept = 64 << 20

func (p *past) close() error {
	if p == nil || p.journal == nil {
		return nil
	}
	return p.journal.Close()
}

func (p *past) complete() error {
	if p == nil || p.journal == nil {
		return nil
	}
	return p.journal.Complete()
}

// list is the documents of an image as the journal lists them: each without its bytes.
func list(img *subject.Image) string { return "documents " + string(img.Digest) }

func single(img *subject.Image, name string) string {
	return "document " + string(img.Digest) + " " + name
}

// remember keeps the documents about the images.
func (p *past) remember(e *Evidence) error {
	var files []journal.File
	for _, img := range e.Images {
		if img.recalled {
			continue
		}
		var names []artifact.Artifact
		for _, d := range img.Documents {
			files = append(files, journal.File{Name: single(img.Image, d.Name), Data: d.Data})
			d.Data = nil
			names = append(names, d)
		}
		dt, err := json.Marshal(names)
		if err != nil {
			return err
		}
		files = append(files, journal.File{Name: list(img.Image), Data: dt})
	}
	return p.putAll(files)
}

// recall takes the documents about an image from an earlier run, if it has all.
func (x *examination) recall(ctx context.Context, p *past) (bool, error) {
	dt := p.get(list(x.img))
	if dt == nil {
		return false, nil
	}
	var documents []artifact.Artifact
	if err := json.Unmarshal(dt, &documents); err != nil {
		return false, nil //nolint:nilerr // what cannot be read is made again
	}
	for i := range documents {
		d := &documents[i]
		d.Data = p.get(single(x.img, d.Name))
		if good := d.Data != nil && d.Validate() == nil; !good {
			return false, nil
		}
		switch d.PredicateType {
		case gate.PredicateType:
			x.out.Gate = &gate.Result{}
			if err := json.Unmarshal(d.Data, x.out.Gate); err != nil {
				return false, nil //nolint:nilerr // as above
			}
		case inspect.PredicateType:
			doc, err := inspect.Read(bytes.NewReader(d.Data))
			if err != nil {
				return false, nil //nolint:nilerr // as above
			}
			x.out.Inspection = doc
		}
	}
	db, err := x.db.get(ctx)
	if err != nil {
		return false, err
	}
	if db != nil {
		x.out.database = &scan.Database{Built: db.Built, Schema: db.Schema, Archive: db.Archive}
	}
	x.out.Documents, x.out.recalled = documents, true
	return true, x.Steps.Run(ctx, title(1, "take documents of an unchanged release", x.img), stage.Journal, func(_ context.Context, s *stage.Step) error {
		s.Set(append(of(x.img), made(documents)...)...)
		return nil
	})
}

// who names a signer for as long as it signs alike: by its key, or by the identity
// that its certificates have.
func who(s *signing.Signer) (string, error) {
	if s.Certificate() == nil {
		return digest.FromBytes(s.PublicKey()).String(), nil
	}
	i, err := identity(s)
	return i.Subject + " " + i.Issuer, err
}

// signatures signs documents, or takes the signatures that the same signer made.
func (p *past) signatures(ctx context.Context, signer *signing.Signer, documents []artifact.Artifact) ([]artifact.Artifact, error) {
	signed, err := who(signer)
	if err != nil {
		return nil, err
	}
	name := "signatures " + signed
	for _, d := range documents {
		name += " " + d.Name + " " + d.Digest().String()
	}
	name = digest.FromString(name).String()
	var out []artifact.Artifact
	if dt := p.get(name); dt != nil && json.Unmarshal(dt, &out) == nil {
		return out, nil
	}
	if out, err = signer.SignArtifacts(ctx, documents); err != nil {
		return nil, err
	}
	dt, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	return out, p.put(name, dt)
}

// attestations signs documents as attestations about images, or takes those that the
// same signer made.
func (p *past) attestations(ctx context.Context, signer *signing.Signer, documents []artifact.Artifact, images []provenance.Image) ([]referrer.Signed, error) {
	signed, err := who(signer)
	if err != nil {
		return nil, err
	}
	name := "attestations " + signed
	for _, i := range images {
		name += " " + i.Name + " " + i.Digest.String()
	}
	for _, d := range documents {
		name += " " + d.PredicateType + " " + d.Digest().String()
	}
	name = digest.FromString(name).String() + " "
	out := make([]referrer.Signed, len(documents))
	all := true
	for i := range out {
		dt := p.get(name + strconv.Itoa(i))
		if all = dt != nil && json.Unmarshal(dt, &out[i]) == nil; !all {
			break
		}
	}
	if all {
		return out, nil
	}
	if out, err = attest(ctx, signer, documents, images); err != nil {
		return nil, err
	}
	var files []journal.File
	for i, s := range out {
		dt, err := json.Marshal(s)
		if err != nil {
			return nil, err
		}
		files = append(files, journal.File{Name: name + strconv.Itoa(i), Data: dt})
	}
	return out, p.putAll(files)
}
