package verify_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/gate"
	"github.com/temper-images/temper/client/inspect"
	"github.com/temper-images/temper/client/provenance"
	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/signing"
	"github.com/temper-images/temper/client/verify"
)

// A release of two platforms has everything, and the report says so.
func TestEverything(t *testing.T) {
	for name, formats := range map[string]referrer.Formats{"both": {}, "bundle": {Bundle: true}, "cosign": {Cosign: true}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.formats = formats
			amd, arm := w.image("amd64"), w.image("arm/v7")
			top := w.index("1", amd, arm)
			w.sign(ours(t), amd, arm, top)
			for _, img := range []ocispecs.Descriptor{amd, arm} {
				newRelease().attach(w, ours(t), img)
			}
			d, err := verify.Resolve(t.Context(), w.repo, "1")
			require.NoError(t, err)
			require.Equal(t, top.Digest, d)
			r, err := w.verify(d, policy())
			require.NoError(t, err)
			require.NoError(t, r.Err())
			require.True(t, r.Passed)
			require.Equal(t, 2, r.Level)
			require.Len(t, r.Subjects, 3)
			require.Equal(t, []string{"index", "linux/amd64", "linux/arm/v7"}, []string{r.Subjects[0].Platform, r.Subjects[1].Platform, r.Subjects[2].Platform})
			require.Len(t, r.Subjects[0].Checks, 1)
			require.Len(t, r.Subjects[1].Checks, len(verify.Kinds))
			for _, s := range r.Subjects {
				for _, c := range s.Checks {
					require.Equal(t, verify.Pass, c.Verdict, "%s %s: %s", s.Platform, c.Kind, c.Detail)
				}
			}
			signatures := 1 // an index with its only signature
			if name == "both" {
				signatures = 2
			}
			require.Len(t, r.Attestations, 3*signatures+2*9)

			again, err := w.verify(d, policy())
			require.NoError(t, err)
			require.Equal(t, r, again, "equal input gives an equal report")
		})
	}
}

// want is what a report has to say.
type want struct {
	reason verify.Reason
	kind   verify.Kind
	detail string
}

// Each way in which an image can fall short is told by its reason.
func TestVerdicts(t *testing.T) {
	// publish pushes a signed image with everything that change leaves.
	publish := func(change func(*release)) func(*testing.T, *world, *verify.Policy) ocispecs.Descriptor {
		return func(t *testing.T, w *world, _ *verify.Policy) ocispecs.Descriptor {
			img, r := w.image("amd64"), newRelease()
			change(r)
			w.sign(ours(t), img)
			r.attach(w, ours(t), img)
			return img
		}
	}
	expect := func(change func(*verify.Policy)) func(*testing.T, *world, *verify.Policy) ocispecs.Descriptor {
		return func(t *testing.T, w *world, p *verify.Policy) ocispecs.Descriptor {
			change(p)
			return publish(func(*release) {})(t, w, p)
		}
	}
	without := func(k verify.Kind) func(*testing.T, *world, *verify.Policy) ocispecs.Descriptor {
		return publish(func(r *release) { r.skip[k] = true })
	}
	other := digest.FromString("another image")
	for name, tc := range map[string]struct {
		publish func(*testing.T, *world, *verify.Policy) ocispecs.Descriptor
		want    want
	}{
		"nothing at all": {func(_ *testing.T, w *world, _ *verify.Policy) ocispecs.Descriptor { return w.image("amd64") },
			want{verify.Unsigned, verify.Signature, "the image is not signed"}},
		"unsigned with attestations": {func(t *testing.T, w *world, _ *verify.Policy) ocispecs.Descriptor {
			img := w.image("amd64")
			newRelease().attach(w, ours(t), img)
			return img
		}, want{verify.Unsigned, verify.Signature, "the image is not signed"}},
		"a stranger's signature": {func(t *testing.T, w *world, _ *verify.Policy) ocispecs.Descriptor {
			img := w.image("amd64")
			w.sign(stranger(t), img)
			newRelease().attach(w, ours(t), img)
			return img
		}, want{verify.WrongSigner, verify.Signature, "signed by somebody else"}},
		"a stranger's SBOM": {func(t *testing.T, w *world, _ *verify.Policy) ocispecs.Descriptor {
			img, r := w.image("amd64"), newRelease()
			r.skip[verify.SBOM] = true
			w.sign(ours(t), img)
			r.attach(w, ours(t), img)
			w.attest(stranger(t), img, "https://cyclonedx.org/bom", object{"bomFormat": "CycloneDX"})
			return img
		}, want{verify.WrongSigner, verify.SBOM, "signed by somebody else"}},
		"a signature of another image": {func(t *testing.T, w *world, _ *verify.Policy) ocispecs.Descriptor {
			img, signed := w.image("amd64"), w.image("arm64")
			s, err := referrer.SignImage(t.Context(), ours(t).signer, "app", signed)
			require.NoError(t, err)
			w.formats = referrer.Formats{Bundle: true}
			w.attach(img, s)
			return img
		}, want{verify.WrongSigner, verify.Signature, "it is about another image, sha256:"}},
		"an older signature of another image": {func(t *testing.T, w *world, _ *verify.Policy) ocispecs.Descriptor {
			img, signed := w.image("amd64"), w.image("arm64")
			s, err := referrer.SignImage(t.Context(), ours(t).signer, "app", signed)
			require.NoError(t, err)
			w.formats = referrer.Formats{Cosign: true}
			w.attach(img, s)
			return img
		}, want{verify.WrongSigner, verify.Signature, "about another image, sha256:"}},
		"a statement about another image": {func(t *testing.T, w *world, _ *verify.Policy) ocispecs.Descriptor {
			img, r := w.image("amd64"), newRelease()
			r.skip[verify.Scan] = true
			w.sign(ours(t), img)
			r.attach(w, ours(t), img)
			w.attest(ours(t), img, "https://cosign.sigstore.dev/attestation/vuln/v1", object{"scanner": object{"uri": "x"}}, other)
			return img
		}, want{verify.WrongSigner, verify.Scan, "it is about another image, " + other.String()}},
		"a changed statement": {func(t *testing.T, w *world, _ *verify.Policy) ocispecs.Descriptor {
			img, r := w.image("amd64"), newRelease()
			r.skip[verify.Provenance] = true
			w.sign(ours(t), img)
			r.attach(w, ours(t), img)
			w.attach(img, changed(t, r.provenance(t, img.Digest)))
			return img
		}, want{verify.WrongSigner, verify.Provenance, "changed after it was signed"}},
		"a bundle that is none": {func(_ *testing.T, w *world, _ *verify.Policy) ocispecs.Descriptor {
			img := w.image("amd64")
			junk := w.blob("application/vnd.dev.sigstore.bundle.v0.3+json", []byte(`{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": 5}`))
			w.manifest("", ocispecs.MediaTypeImageManifest, ocispecs.Manifest{
				MediaType: ocispecs.MediaTypeImageManifest, ArtifactType: junk.MediaType, Config: w.blob(ocispecs.MediaTypeEmptyJSON, []byte("{}")),
				Layers: []ocispecs.Descriptor{junk}, Subject: &ocispecs.Descriptor{MediaType: img.MediaType, Digest: img.Digest, Size: img.Size},
			})
			return img
		}, want{verify.WrongSigner, verify.Signature, "changed after it was signed"}},
		"an unsigned image in a signed index": {func(t *testing.T, w *world, _ *verify.Policy) ocispecs.Descriptor {
			img := w.image("amd64")
			top := w.index("1", img)
			w.sign(ours(t), top)
			newRelease().attach(w, ours(t), img)
			return top
		}, want{verify.Unsigned, verify.Signature, "the image is not signed"}},
		"an image that is not there": {func(t *testing.T, w *world, _ *verify.Policy) ocispecs.Descriptor {
			img := w.image("amd64")
			top := w.index("1", img)
			w.sign(ours(t), top)
			w.absent(img.Digest)
			return top
		}, want{verify.NotMet, verify.Signature, "the registry does not have it"}},
		"without provenance":  {without(verify.Provenance), want{verify.NotMet, verify.Provenance, "there is none"}},
		"without SBOM":        {without(verify.SBOM), want{verify.NotMet, verify.SBOM, "there is none"}},
		"without scan":        {without(verify.Scan), want{verify.NotMet, verify.Scan, "there is none"}},
		"without gate":        {without(verify.Gate), want{verify.NotMet, verify.Gate, "there is none"}},
		"without hardening":   {without(verify.Hardening), want{verify.NotMet, verify.Hardening, "there is none"}},
		"without inspection":  {without(verify.Inspection), want{verify.NotMet, verify.Inspection, "there is none"}},
		"without VEX":         {without(verify.VEX), want{verify.NotMet, verify.VEX, "there is none"}},
		"without test":        {without(verify.Test), want{verify.NotMet, verify.Test, "there is none"}},
		"another's SBOM":      {publish(func(r *release) { r.sbomOf = other }), want{verify.NotMet, verify.SBOM, "of another image, " + other.String()}},
		"one format only":     {func(t *testing.T, w *world, _ *verify.Policy) ocispecs.Descriptor { return oneSBOM(t, w) }, want{verify.NotMet, verify.SBOM, "none in the format spdx"}},
		"an old scan":         {publish(func(r *release) { r.built = now.AddDate(0, 0, -8) }), want{verify.NotMet, verify.Scan, "it is 8 days old, and may be 7d old"}},
		"a scan to come":      {publish(func(r *release) { r.built = now.AddDate(0, 0, 3) }), want{verify.NotMet, verify.Scan, "3 days from now"}},
		"a refusing gate":     {publish(func(r *release) { r.gate.Passed = false; r.gate.Counts.Counts = 3 }), want{verify.NotMet, verify.Gate, "refused the image on 2026-05-10: 3"}},
		"a warning gate":      {publish(func(r *release) { r.gate.Mode = gate.ModeWarn; r.gate.Counts.Counts = 2 }), want{verify.NotMet, verify.Gate, "with a warning on 2026-05-10: 2"}},
		"a gate that was off": {publish(func(r *release) { r.gate.Mode = gate.ModeOff }), want{verify.NotMet, verify.Gate, "decided nothing"}},
		"a refusal":           {publish(func(r *release) { r.outcome = inspect.Refused }), want{verify.NotMet, verify.Inspection, "refused"}},
		"a failed test":       {publish(func(r *release) { r.result = "FAILED" }), want{verify.NotMet, verify.Test, `"FAILED"`}},
		"another builder": {publish(func(r *release) { r.builder = "https://example.com/builder" }),
			want{verify.NotMet, verify.Provenance, "the builder is https://example.com/builder, not " + builderID}},
		"another source": {expect(func(p *verify.Policy) { p.Provenance.Source = "https://github.com/team/other" }),
			want{verify.NotMet, verify.Provenance, "the source is https://github.com/team/app, not https://github.com/team/other"}},
		"another ref": {expect(func(p *verify.Policy) { p.Provenance.Ref = "refs/heads/main" }),
			want{verify.NotMet, verify.Provenance, "the ref is refs/tags/v1.2, not refs/heads/main"}},
		"another commit": {expect(func(p *verify.Policy) { p.Provenance.Commit = strings.Repeat("f", 40) }),
			want{verify.NotMet, verify.Provenance, "the commit is " + commit}},
		"another workflow": {expect(func(p *verify.Policy) { p.Provenance.Workflow = "ci.yml" }),
			want{verify.NotMet, verify.Provenance, "the workflow is " + workflow}},
		"a changed checkout": {publish(func(r *release) { r.checkout.Dirty = true }),
			want{verify.NotMet, verify.Provenance, "changes that are in no commit"}},
		"too low a level": {expect(func(p *verify.Policy) { p.Provenance.Level = 3 }),
			want{verify.NotMet, verify.Provenance, "level 2 is reached, not 3"}},
		"the environment's word": {publish(func(r *release) { r.facts.Origins = nil }),
			want{verify.NotMet, verify.Provenance, "level 1 is reached, not 2"}},
		"a look at a finished image": {func(t *testing.T, w *world, p *verify.Policy) ocispecs.Descriptor {
			p.Provenance = verify.ProvenancePolicy{}
			img, r := w.image("amd64"), newRelease()
			r.skip[verify.Provenance] = true
			w.sign(ours(t), img)
			r.attach(w, ours(t), img)
			statement, err := provenance.Observe(provenance.Observed{Image: provenance.Image{Name: "app", Digest: img.Digest, Platform: "linux/amd64"}})
			require.NoError(t, err)
			w.attestStatement(ours(t), img, statement)
			return img
		}, want{verify.NotMet, verify.Provenance, "it is no provenance of a build"}},
	} {
		t.Run(name, func(t *testing.T) {
			w, p := newWorld(t), policy()
			top := tc.publish(t, w, &p)
			r, err := w.verify(top.Digest, p)
			require.NoError(t, err)
			require.False(t, r.Passed)
			require.Equal(t, tc.want.reason, r.Reason, "%v", r.Err())
			var failed *verify.FailedError
			require.ErrorAs(t, r.Err(), &failed)
			require.Equal(t, tc.want.reason, failed.Reason())
			require.Contains(t, failed.Error(), tc.want.detail)
			last := r.Subjects[len(r.Subjects)-1]
			c := row(t, r, last.Digest, tc.want.kind)
			require.Equal(t, verify.Fail, c.Verdict)
			require.Equal(t, tc.want.reason, c.Reason)
			require.Contains(t, c.Detail, tc.want.detail)
		})
	}
}

// changed is a signed statement with another builder put in afterwards.
func changed(t *testing.T, statement []byte) referrer.Signed {
	t.Helper()
	signed, err := referrer.Attest(t.Context(), ours(t).signer, statement)
	require.NoError(t, err)
	var bundle map[string]any
	require.NoError(t, json.Unmarshal(signed.Bundle, &bundle))
	bundle["dsseEnvelope"].(map[string]any)["payload"] = bytes.Replace(statement, []byte("release-v1"), []byte("release-v2"), 1)
	signed.Bundle, err = json.Marshal(bundle)
	require.NoError(t, err)
	return signed
}

func oneSBOM(t *testing.T, w *world) ocispecs.Descriptor {
	t.Helper()
	img, r := w.image("amd64"), newRelease()
	r.skip[verify.SBOM] = true
	w.sign(ours(t), img)
	r.attach(w, ours(t), img)
	w.attest(ours(t), img, "https://cyclonedx.org/bom/v1.4", object{"bomFormat": "CycloneDX", "specVersion": "1.4"})
	return img
}

// absent has the registry not have a manifest.
func (w *world) absent(d digest.Digest) {
	w.answer = func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v2/team/app/manifests/"+d.String() {
			return false
		}
		rw.WriteHeader(http.StatusNotFound)
		return true
	}
}

// What a policy does not ask for is told, and decides nothing.
func TestNotRequired(t *testing.T) {
	w, r := newWorld(t), newRelease()
	r.gate.Passed, r.gate.Counts.Counts = false, 1
	r.skip[verify.Hardening] = true
	img := w.image("amd64")
	w.sign(ours(t), img)
	r.attach(w, ours(t), img)
	w.sign(stranger(t), img)
	report, err := w.verify(img.Digest, verify.Policy{})
	require.NoError(t, err)
	require.True(t, report.Passed, "%v", report.Err())
	require.Equal(t, verify.DefaultKinds, report.Required)
	c := row(t, report, img.Digest, verify.Gate)
	require.Equal(t, verify.Warn, c.Verdict)
	require.Contains(t, c.Detail, "(not required)")
	require.Contains(t, row(t, report, img.Digest, verify.Signature).Detail, "2 more by others not counted")
	for _, c := range report.Subjects[0].Checks {
		require.NotEqual(t, verify.Hardening, c.Kind)
	}

	// One of several formats and of several signers will do.
	report, err = verify.Image(t.Context(), w.repo, img.Digest, verify.Options{
		Policy: verify.Policy{Require: []verify.Kind{verify.Signature}}, Now: now,
		Signers: []*signing.Verifier{stranger(t).verifier, ours(t).verifier},
	})
	require.NoError(t, err)
	require.True(t, report.Passed)
	require.Len(t, row(t, report, img.Digest, verify.Signature).Signers, 2)
}

// The level that a policy gives a builder is the one that is reached.
func TestBuilderLevel(t *testing.T) {
	w := newWorld(t)
	img := w.image("amd64")
	w.sign(ours(t), img)
	newRelease().attach(w, ours(t), img)
	for level, want := range map[int]int{0: 2, 1: 1, 3: 3} {
		r, err := w.verify(img.Digest, verify.Policy{Provenance: verify.ProvenancePolicy{Builders: []verify.Builder{{ID: "https://example.com/b"}, {ID: builderID, Level: level}}}})
		require.NoError(t, err)
		require.True(t, r.Passed, "%v", r.Err())
		require.Equal(t, want, r.Level)
	}
}

// Platforms are chosen by the index, and of a single image by its configuration.
func TestPlatforms(t *testing.T) {
	w := newWorld(t)
	amd, arm := w.image("amd64"), w.image("arm64")
	attached := w.image("unknown")
	attached.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
	top := w.index("1", amd, arm, attached, amd)
	w.sign(ours(t), amd, arm, top)
	p := verify.Policy{Require: []verify.Kind{verify.Signature}}
	r, err := w.verify(top.Digest, p)
	require.NoError(t, err)
	require.True(t, r.Passed, "%v", r.Err())
	require.Len(t, r.Subjects, 3, "what BuildKit attached is no image, and one that is listed twice is one")

	p.Platforms = []string{"linux/arm64", "linux/aarch64"}
	r, err = w.verify(top.Digest, p)
	require.NoError(t, err)
	require.Len(t, r.Subjects, 2)
	require.Equal(t, "linux/arm64", r.Subjects[1].Platform)
	r, err = w.verify(arm.Digest, p)
	require.NoError(t, err)
	require.Len(t, r.Subjects, 1)

	var none *verify.NotFoundError
	p.Platforms = []string{"linux/riscv64"}
	_, err = w.verify(top.Digest, p)
	require.ErrorAs(t, err, &none)
	_, err = w.verify(amd.Digest, p)
	require.ErrorAs(t, err, &none)
}

// A registry that does not answer is never taken for an image that is not signed.
func TestRegistryErrors(t *testing.T) {
	status := func(code int, part string) func(*world, ocispecs.Descriptor) *world {
		return func(w *world, _ ocispecs.Descriptor) *world {
			w.answer = func(rw http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, part) {
					return false
				}
				rw.WriteHeader(code)
				return true
			}
			return w
		}
	}
	isUnreachable := func(err error) bool { return as[*registry.UnreachableError](err) }
	isDenied := func(err error) bool { return as[*registry.DeniedError](err) }
	for name, tc := range map[string]struct {
		happens func(*world, ocispecs.Descriptor) *world
		is      func(error) bool
	}{
		"throttled manifests":       {status(http.StatusTooManyRequests, "/manifests/"), isUnreachable},
		"throttled referrers":       {status(http.StatusTooManyRequests, "/referrers/"), isUnreachable},
		"throttled signature tag":   {status(http.StatusTooManyRequests, ".sig"), isUnreachable},
		"throttled blobs":           {status(http.StatusTooManyRequests, "/blobs/"), isUnreachable},
		"broken referrers":          {status(http.StatusInternalServerError, "/referrers/"), isUnreachable},
		"unauthorised":              {status(http.StatusUnauthorized, "/"), isDenied},
		"unauthorised referrers":    {status(http.StatusUnauthorized, "/referrers/"), isDenied},
		"forbidden referrers":       {status(http.StatusForbidden, "/referrers/"), isDenied},
		"forbidden attestation tag": {status(http.StatusForbidden, ".att"), isDenied},
		"a connection that is refused": {func(w *world, _ ocispecs.Descriptor) *world {
			closed := httptest.NewServer(http.NotFoundHandler())
			closed.Close()
			w.repo = w.open(closed.Listener.Addr().String())
			return w
		}, isUnreachable},
		"another manifest": {func(w *world, img ocispecs.Descriptor) *world {
			w.answer = func(rw http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, img.Digest.String()) || !strings.Contains(r.URL.Path, "/manifests/") {
					return false
				}
				rw.Header().Set("Content-Type", ocispecs.MediaTypeImageManifest)
				_, _ = rw.Write([]byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[]}`))
				return true
			}
			return w
		}, as[*registry.DigestError]},
		"no such manifest": {func(w *world, img ocispecs.Descriptor) *world { w.absent(img.Digest); return w }, as[*verify.NotFoundError]},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			img := w.image("amd64")
			w.sign(ours(t), img)
			// Another connection, which has not learned anything of the registry.
			w.repo = w.open(w.server.Listener.Addr().String())
			tc.happens(w, img)
			r, err := w.verify(img.Digest, verify.Policy{Require: []verify.Kind{verify.Signature}})
			require.Nil(t, r)
			require.Error(t, err)
			require.True(t, tc.is(err), "%v", err)
		})
	}
}

func as[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

// What reads as an index and as an image is neither.
func TestManifestOfBoth(t *testing.T) {
	w := newWorld(t)
	img := w.image("amd64")
	data := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"config":{},"layers":[]}`)
	top := digest.FromBytes(data)
	w.answer = func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v2/team/app/manifests/"+top.String() {
			return false
		}
		rw.Header().Set("Content-Type", ocispecs.MediaTypeImageIndex)
		_, _ = rw.Write(data)
		return true
	}
	_, err := w.verify(top, verify.Policy{})
	require.ErrorContains(t, err, "neither an image nor an index")

	nested := w.index("", w.index("", img))
	_, err = w.verify(nested.Digest, verify.Policy{})
	require.ErrorContains(t, err, "index in an index")
	_, err = w.verify("sha256:no", verify.Policy{})
	require.Error(t, err)
	_, err = w.verify(w.index("", []ocispecs.Descriptor{}...).Digest, verify.Policy{})
	require.ErrorContains(t, err, "lists no image")
}

// A cancelled verification ends with the cause.
func TestCancelled(t *testing.T) {
	w := newWorld(t)
	img := w.image("amd64")
	w.sign(ours(t), img)
	w.answer = func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	}
	ctx, cancel := contextWithTimeout(t, 50*time.Millisecond)
	defer cancel()
	_, err := verify.Image(ctx, w.repo, img.Digest, verify.Options{Signers: []*signing.Verifier{ours(t).verifier}, Now: now})
	require.Error(t, err)
	require.Error(t, ctx.Err())
}

// The newest scan, gate decision and inspection count; of one day the worse.
func TestNewest(t *testing.T) {
	w := newWorld(t)
	img := w.image("amd64")
	w.sign(ours(t), img)
	old := newRelease()
	old.built, old.gate.Judged, old.gate.Passed, old.outcome = now.AddDate(-1, 0, 0), gate.DateOf(now.AddDate(-1, 0, 0)), false, inspect.Warned
	old.gate.Counts.Counts = 1
	old.attach(w, ours(t), img)
	r, err := w.verify(img.Digest, policy())
	require.NoError(t, err)
	require.Equal(t, verify.Fail, row(t, r, img.Digest, verify.Gate).Verdict)
	require.Equal(t, verify.Fail, row(t, r, img.Digest, verify.Scan).Verdict)

	renewed := newRelease()
	renewed.attach(w, ours(t), img)
	r, err = w.verify(img.Digest, policy())
	require.NoError(t, err)
	require.True(t, r.Passed, "%v", r.Err())
	require.Equal(t, verify.Warn, row(t, r, img.Digest, verify.Inspection).Verdict, "they are of one day")

	renewed = newRelease()
	renewed.gate.Passed, renewed.gate.Counts.Counts = false, 1
	renewed.attach(w, ours(t), img)
	r, err = w.verify(img.Digest, policy())
	require.NoError(t, err)
	require.Equal(t, verify.Fail, row(t, r, img.Digest, verify.Gate).Verdict)
}

// Somebody else's provenance is compared as far as its build type is known.
func TestUnknownBuildType(t *testing.T) {
	w := newWorld(t)
	img, r := w.image("amd64"), newRelease()
	r.skip[verify.Provenance] = true
	w.sign(ours(t), img)
	r.attach(w, ours(t), img)
	w.attest(ours(t), img, provenance.PredicateType, object{
		"buildDefinition": object{"buildType": "https://example.com/type", "externalParameters": object{"x": 1}},
		"runDetails":      object{"builder": object{"id": "https://example.com/builder"}},
	})
	p := verify.Policy{Provenance: verify.ProvenancePolicy{Builders: []verify.Builder{{ID: "https://example.com/builder"}}}}
	report, err := w.verify(img.Digest, p)
	require.NoError(t, err)
	require.True(t, report.Passed, "%v", report.Err())
	require.Equal(t, 1, report.Level)
	p.Provenance.Source = source
	report, err = w.verify(img.Digest, p)
	require.NoError(t, err)
	require.Contains(t, row(t, report, img.Digest, verify.Provenance).Detail, "its build type https://example.com/type is not known")
	require.Equal(t, 0, report.Level)

	w.attest(ours(t), img, "https://slsa.dev/provenance/v0.2", object{"builder": object{"id": "x"}})
	report, err = w.verify(img.Digest, verify.Policy{})
	require.NoError(t, err)
	require.True(t, report.Passed)
}
