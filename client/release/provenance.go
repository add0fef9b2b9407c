package release

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/evidence"
	"github.com/temper-images/temper/client/provenance"
	"github.com/temper-images/temper/client/settings"
	"github.com/temper-images/temper/client/stage"
)

// document is a file that decided the build.
type document struct {
	// path is relative to the context.
	path string
	text []byte
}

// maxDockerfile bounds what is read of a Dockerfile, in bytes, as in package build.
const maxDockerfile = 1 << 20

// readDockerfile reads the Dockerfile of a local context. It is empty for one that
// only the builder sees.
func readDockerfile(r *build.Request, s *settings.Settings) document {
	name := r.Dockerfile
	if name == "" {
		name = filepath.Join(s.Dir, "Dockerfile")
	}
	if s.Dir == "" || name == "-" {
		return document{}
	}
	fi, err := os.Stat(name)
	if err != nil || fi.Size() > maxDockerfile {
		return document{}
	}
	dt, err := os.ReadFile(name)
	if err != nil {
		return document{}
	}
	return document{path: relative(s.Dir, name), text: dt}
}

// relative is a path as the context sees it, or its last part when it lies
// elsewhere: where a file is on this machine is nobody's business.
func relative(dir, name string) string {
	rel, err := filepath.Rel(dir, name)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return filepath.Base(name)
	}
	return filepath.ToSlash(rel)
}

// provenance writes the provenance of an image, with the places of the other
// documents.
func (o Options) provenance(ctx context.Context, store *evidence.Store, img *ImageEvidence, src *origin, p *past) (artifact.Artifact, error) {
	out := artifact.Artifact{
		Kind: artifact.Attestation, Name: documentName("attestation", img.Image, ".json"), MediaType: artifact.TypeInToto, Platform: img.Image.Platform,
	}
	key := "provenance " + string(img.Image.Digest) + " " + store.URL()
	if out.Data = p.get(key); out.Data != nil {
		return out, nil
	}
	err := o.Steps.Run(ctx, title(8, "write provenance", img.Image), stage.Provenance, func(_ context.Context, s *stage.Step) (err error) {
		if src == nil {
			out.Data, err = o.observed(store, img)
		} else {
			out.Data, err = o.released(store, img, src)
		}
		if err != nil {
			return err
		}
		if err := provenance.Validate(out.Data); err != nil {
			return fmt.Errorf("the provenance of %s: %w", img.Image.Name, err)
		}
		s.Set(append(of(img.Image), made([]artifact.Artifact{out})...)...)
		return p.put(key, out.Data)
	})
	return out, err
}

func (o Options) observed(store *evidence.Store, img *ImageEvidence) ([]byte, error) {
	cfg, err := img.Image.Image.ConfigFile()
	if err != nil {
		return nil, err
	}
	return provenance.Observe(provenance.Observed{
		Image: image(img), Reference: img.Image.Reference, Labels: cfg.Config.Labels, Attached: img.buildkit,
		TemperVersion: o.Version, Tools: tools(img), Byproducts: byproducts(store, img),
	})
}

func (o Options) released(store *evidence.Store, img *ImageEvidence, src *origin) ([]byte, error) {
	in := provenance.Input{
		Image: image(img), CI: src.ci, Build: img.buildkit, Target: src.request.Target,
		TemperVersion: o.Version, BuilderKind: src.builderKind, BuildKitVersion: src.buildkit,
		Hardening: o.Settings.Harden, GatePolicy: o.policyDigest(),
		Tools: tools(img), Byproducts: byproducts(store, img), Started: src.began, Finished: o.Now(),
	}
	if d := src.dockerfile; d.path != "" {
		in.Dockerfile = provenance.File{Path: d.path, Digest: digest.FromBytes(d.text)}
	}
	if o.Settings.File != "" {
		if dt, err := os.ReadFile(o.Settings.File); err == nil {
			in.Config = provenance.File{Path: relative(o.Settings.Dir, o.Settings.File), Digest: digest.FromBytes(dt)}
		}
	}
	if f := src.frontend; f != nil {
		in.Frontend = provenance.Resource{Kind: provenance.KindFrontend, Name: frontendName(f.Ref), Digest: map[string]string{}}
		if f.Digest != "" {
			in.Frontend.Digest[f.Digest.Algorithm().String()] = f.Digest.Encoded()
		}
	}
	return provenance.Release(in)
}

// frontendName is what a frontend is called, without a path of this machine.
func frontendName(ref string) string {
	if strings.Contains(ref, "oci-layout://") || strings.HasPrefix(ref, "/") {
		return "temper-frontend"
	}
	return ref
}

func image(img *ImageEvidence) provenance.Image {
	name := img.Image.Name
	if ref := img.Image.Reference; ref != "" {
		name = ref
		if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
			name = name[:i]
		}
	}
	return provenance.Image{Name: name, Digest: img.Image.Digest, Platform: img.Image.Platform}
}

// tools are what looked at the image.
func tools(img *ImageEvidence) []provenance.Resource {
	var out []provenance.Resource
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, path := range []string{"github.com/anchore/syft", "github.com/anchore/grype", "github.com/zricethezav/gitleaks/v8"} {
			if r, ok := provenance.Module(info, path); ok {
				out = append(out, r)
			}
		}
	}
	if db := img.database; db != nil {
		r := provenance.Resource{
			Kind: provenance.KindDatabase, Name: "vulnerability database",
			Annotations: map[string]string{"built": db.Built.UTC().Format(time.RFC3339), "schema": db.Schema},
		}
		if d, err := digest.Parse(db.Archive); err == nil {
			r.Digest = map[string]string{d.Algorithm().String(): d.Encoded()}
		}
		out = append(out, r)
	}
	return out
}

// byproducts are the documents that are stored already.
func byproducts(store *evidence.Store, img *ImageEvidence) []provenance.Byproduct {
	at := map[string]string{}
	if img.Receipt != nil {
		for _, e := range img.Receipt.Entries {
			at[e.Name] = store.Locate(e.Path)
		}
	}
	var out []provenance.Byproduct
	for _, d := range img.Documents {
		out = append(out, provenance.Byproduct{
			Name: d.Name, MediaType: d.MediaType, Digest: d.Digest(), Location: at[d.Name], PredicateType: d.PredicateType,
		})
	}
	return out
}

// policyDigest names the rules that the gates applied.
func (o Options) policyDigest() digest.Digest {
	c := o.Settings.Config
	// Encoding these types cannot fail: they hold texts, numbers and lists.
	rules, _ := json.Marshal([]any{c.Scan, c.Inspect, c.Licences})
	return digest.FromBytes(rules)
}
