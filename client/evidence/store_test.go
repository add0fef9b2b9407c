package evidence

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/artifact"
)

func testImage() Image {
	return Image{
		Digest: digest.FromString("image"), Reference: "registry.example.com/team/app:1", Platform: "linux/amd64",
		Index: digest.FromString("index"), Created: time.Unix(1700000000, 0).UTC(),
	}
}

// testDocuments are a signed SBOM, a scan and an attestation that names both.
func testDocuments(img Image) []artifact.Artifact {
	sbom := artifact.Artifact{Kind: artifact.SBOM, Name: "sbom-app-amd64.cdx.json", MediaType: artifact.TypeCycloneDX, Data: []byte(`{"sbom":true}`)}
	scan := artifact.Artifact{Kind: artifact.Scan, Name: "scan-app-amd64.json", MediaType: artifact.TypeJSON, Data: []byte(`{"scan":true}`)}
	att := artifact.Artifact{Kind: artifact.Attestation, Name: "attestation-app-amd64.json", MediaType: artifact.TypeInToto, Data: statementAbout(img.Digest, sbom, scan)}
	return []artifact.Artifact{
		sbom, scan, att,
		{Kind: artifact.SBOM, Name: sbom.Name + ".sig", MediaType: artifact.TypeSignature, Data: sign(sbom.Data, "1")},
		{Kind: artifact.SBOM, Name: sbom.Name + ".sigstore.json", MediaType: artifact.TypeBundle, Data: sign(sbom.Data, "2")},
		{Kind: artifact.Scan, Name: scan.Name + ".sig", MediaType: artifact.TypeSignature, Data: sign(scan.Data, "1")},
		{Kind: artifact.Attestation, Name: att.Name + ".sig", MediaType: artifact.TypeSignature, Data: sign(att.Data, "1")},
	}
}

func statementAbout(d digest.Digest, byproducts ...artifact.Artifact) []byte {
	var list []string
	for _, b := range byproducts {
		list = append(list, fmt.Sprintf(`{"name":%q,"digest":{"sha256":%q}}`, b.Name, b.Digest().Encoded()))
	}
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://slsa.dev/provenance/v1","subject":[{"name":"app","digest":{"sha256":%q}}],"predicate":{"runDetails":{"byproducts":[%s]}}}`,
		d.Encoded(), strings.Join(list, ","))
}

// digestVerifier stands for signatures whose making and checking is not this
// package's: a signature is the digest with anything behind it.
type digestVerifier struct{}

func sign(data []byte, salt string) []byte {
	return []byte(string(digest.FromBytes(data)) + " " + salt)
}

func (digestVerifier) Verify(_ context.Context, data, sig, bundle []byte) error {
	for _, s := range [][]byte{sig, bundle} {
		if s != nil && !strings.HasPrefix(string(s), string(digest.FromBytes(data))) {
			return errors.New("the signature is of something else")
		}
	}
	return nil
}

// VerifyEnvelope takes the statement with anything behind it.
func (digestVerifier) VerifyEnvelope(_ context.Context, statement, bundle []byte) error {
	if !strings.HasPrefix(string(bundle), string(statement)) {
		return errors.New("it holds something else")
	}
	return nil
}

func open(t *testing.T, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		dt, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		all[rel] = string(dt)
		return err
	}))
	return all
}

func TestPutIsFoundAndVerified(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "evidence")
	img := testImage()
	s := open(t, dir, Options{})
	_, err := s.Find(t.Context(), img.Reference, false)
	var nothing *NotStoredError
	require.ErrorAs(t, err, &nothing)

	r, err := s.Put(t.Context(), img, testDocuments(img))
	require.NoError(t, err)
	require.Equal(t, 7, r.Sent)
	require.Zero(t, r.Present)
	require.Len(t, r.Entries, 3)
	require.Regexp(t, `^index/sha256-[0-9a-f]{64}/0001-[0-9a-f]{12}\.json$`, r.Record)
	require.FileExists(t, filepath.Join(dir, "sboms/amd64", digestDir(img.Digest), "sbom-app-amd64.cdx.json.sigstore.json"))
	require.Equal(t, filepath.ToSlash(dir)+"/"+r.Record, s.Locate(r.Record))

	for _, name := range []string{img.Reference, string(img.Digest), string(img.Index), "registry.example.com/team/app@" + string(img.Digest), "registry.example.com/team/app:9@" + string(img.Digest)} {
		found, err := s.Find(t.Context(), name, false)
		require.NoError(t, err, name)
		require.Equal(t, []Image{img}, found, name)
	}
	index, err := s.Index(t.Context(), img.Digest)
	require.NoError(t, err)
	require.Equal(t, r.Entries, index.Current())
	for _, e := range index.Documents {
		data, err := s.Get(t.Context(), e.Object)
		require.NoError(t, err)
		require.Equal(t, e.Digest, digest.FromBytes(data))
	}
	v, err := s.Verify(t.Context(), img.Digest, VerifyOptions{Verifier: digestVerifier{}})
	require.NoError(t, err)
	require.NoError(t, v.Err())
	require.Equal(t, 8, v.Objects)
	require.Equal(t, 4, v.Signatures)
	require.Equal(t, 2, v.Attested)
	require.Empty(t, v.Notes)
}

func TestPutAgainChangesNothing(t *testing.T) {
	dir := t.TempDir()
	img := testImage()
	s := open(t, dir, Options{})
	_, err := s.Put(t.Context(), img, testDocuments(img))
	require.NoError(t, err)
	before := files(t, dir)
	r, err := s.Put(t.Context(), img, testDocuments(img))
	require.NoError(t, err)
	require.Zero(t, r.Sent)
	require.Equal(t, 7, r.Present)
	require.Empty(t, r.Record)
	require.Equal(t, before, files(t, dir))
}

// Two machines that store the same leave the same bytes.
func TestStoresAreEqual(t *testing.T) {
	img := testImage()
	one, two := t.TempDir(), t.TempDir()
	for _, dir := range []string{one, two} {
		_, err := open(t, dir, Options{}).Put(t.Context(), img, testDocuments(img))
		require.NoError(t, err)
	}
	require.Equal(t, files(t, one), files(t, two))
}

func TestOtherContentIsKeptBeside(t *testing.T) {
	dir := t.TempDir()
	img := testImage()
	s := open(t, dir, Options{})
	docs := testDocuments(img)
	_, err := s.Put(t.Context(), img, docs)
	require.NoError(t, err)
	before := files(t, dir)

	newer := []artifact.Artifact{docs[1], docs[5]}
	newer[0].Data = []byte(`{"scan":"tomorrow"}`)
	newer[1].Data = sign(newer[0].Data, "1")
	r, err := s.Put(t.Context(), img, newer)
	require.NoError(t, err)
	want := documentPath(img, artifact.Scan, short(newer[0].Data)+"/"+newer[0].Name)
	require.Equal(t, want, r.Entries[0].Path)
	require.Equal(t, want+".sig", r.Entries[0].Signature.Path)
	after := files(t, dir)
	for p, content := range before {
		require.Equal(t, content, after[p])
	}
	index, err := s.Index(t.Context(), img.Digest)
	require.NoError(t, err)
	require.Len(t, index.Documents, 4)
	require.Len(t, index.Records, 2)
	require.Equal(t, want, index.Current()[2].Path)

	// Storing the first again makes it the current one again.
	_, err = s.Put(t.Context(), img, []artifact.Artifact{docs[1], docs[5]})
	require.NoError(t, err)
	index, err = s.Index(t.Context(), img.Digest)
	require.NoError(t, err)
	require.Equal(t, docs[1].Digest(), index.Current()[2].Digest)
	v, err := s.Verify(t.Context(), img.Digest, VerifyOptions{Verifier: digestVerifier{}})
	require.NoError(t, err)
	require.NoError(t, v.Err())
	require.Len(t, v.Notes, 1, "the newer scan is not in the provenance")
}

func TestImmutable(t *testing.T) {
	dir := t.TempDir()
	img := testImage()
	docs := testDocuments(img)
	_, err := open(t, dir, Options{}).Put(t.Context(), img, docs)
	require.NoError(t, err)
	before := files(t, dir)
	docs[1].Data = []byte(`{"scan":"tomorrow"}`)
	_, err = open(t, dir, Options{Immutable: true}).Put(t.Context(), img, docs[:2])
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, Conflict, e.Reason)
	require.ErrorContains(t, err, "scan-app-amd64.json: it exists with other content: it has digest sha256:")
	require.Equal(t, before, files(t, dir))
}

// A run that was broken off and signs again finds its own signatures.
func TestSignaturesOfABrokenRunAreKept(t *testing.T) {
	dir := t.TempDir()
	img := testImage()
	_, err := open(t, dir, Options{}).Upload(t.Context(), img, testDocuments(img))
	require.NoError(t, err)
	before := files(t, dir)
	again := testDocuments(img)
	for i := range again {
		if base, ok := signed(again[i].Name); ok {
			for _, d := range again {
				if d.Name == base {
					again[i].Data = sign(d.Data, "another nonce")
				}
			}
		}
	}
	r, err := open(t, dir, Options{Verifier: digestVerifier{}, Immutable: true}).Put(t.Context(), img, again)
	require.NoError(t, err)
	require.Zero(t, r.Sent)
	for p, content := range before {
		require.Equal(t, content, files(t, dir)[p])
	}
	v, err := open(t, dir, Options{}).Verify(t.Context(), img.Digest, VerifyOptions{Verifier: digestVerifier{}})
	require.NoError(t, err)
	require.NoError(t, v.Err())
	require.Empty(t, v.Notes)
}

func TestUploadAloneIsNotStored(t *testing.T) {
	img := testImage()
	s := open(t, t.TempDir(), Options{})
	r, err := s.Upload(t.Context(), img, testDocuments(img))
	require.NoError(t, err)
	var nothing *NotStoredError
	_, err = s.Index(t.Context(), img.Digest)
	require.ErrorAs(t, err, &nothing)
	_, err = s.Verify(t.Context(), img.Digest, VerifyOptions{})
	require.ErrorAs(t, err, &nothing)
	require.NoError(t, s.Commit(t.Context(), r))
	_, err = s.Index(t.Context(), img.Digest)
	require.NoError(t, err)
}

func TestTagsMoveAndRemember(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	first, second := testImage(), testImage()
	second.Digest, second.Index = digest.FromString("rebuilt"), ""
	arm := testImage()
	arm.Digest, arm.Platform = digest.FromString("arm"), "linux/arm64"
	for _, img := range []Image{first, arm, second, second, first} {
		_, err := s.Put(t.Context(), img, testDocuments(img)[:1])
		require.NoError(t, err)
	}
	found, err := s.Find(t.Context(), first.Reference, false)
	require.NoError(t, err)
	require.Equal(t, []Image{first, arm}, found)
	found, err = s.Find(t.Context(), first.Reference, true)
	require.NoError(t, err)
	require.Equal(t, []Image{first, second, first, arm}, found)
	found, err = s.Find(t.Context(), string(first.Index), false)
	require.NoError(t, err)
	require.Equal(t, []Image{first, arm}, found)
}

// Writers at once lose nothing of each other.
func TestWritersAtOnce(t *testing.T) {
	dir := t.TempDir()
	img := testImage()
	const writers = 8
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for i := range writers {
		s := open(t, dir, Options{})
		wg.Go(func() {
			_, errs[i] = s.Put(t.Context(), img, []artifact.Artifact{
				{Kind: artifact.Test, Name: "same.json", MediaType: artifact.TypeJSON, Data: []byte("same")},
				{Kind: artifact.Test, Name: "contested.json", MediaType: artifact.TypeJSON, Data: fmt.Appendf(nil, "%d", i)},
				{Kind: artifact.Test, Name: fmt.Sprintf("own-%d.json", i), MediaType: artifact.TypeJSON, Data: fmt.Appendf(nil, "%d", i)},
			})
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	s := open(t, dir, Options{})
	v, err := s.Verify(t.Context(), img.Digest, VerifyOptions{})
	require.NoError(t, err)
	require.NoError(t, v.Err())
	require.Empty(t, v.Notes)
	index, err := s.Index(t.Context(), img.Digest)
	require.NoError(t, err)
	require.Len(t, index.Current(), writers+2)
	require.Len(t, index.Documents, 1+writers+writers)
}

func TestBadDocuments(t *testing.T) {
	img := testImage()
	good := testDocuments(img)
	for name, tt := range map[string]struct {
		img  func(*Image)
		docs []artifact.Artifact
		want string
	}{
		"twice":         {nil, []artifact.Artifact{good[0], good[0]}, "given twice"},
		"orphan":        {nil, []artifact.Artifact{good[3]}, "signs sbom-app-amd64.cdx.json, which is not given"},
		"no name":       {nil, []artifact.Artifact{{Kind: artifact.SBOM, MediaType: "x"}}, "must be a file name"},
		"traversal":     {nil, []artifact.Artifact{{Kind: artifact.SBOM, Name: "../x", MediaType: "x"}}, "must be a file name"},
		"kind":          {nil, []artifact.Artifact{{Kind: "x", Name: "x", MediaType: "x"}}, "unknown kind"},
		"platform":      {nil, []artifact.Artifact{{Kind: artifact.SBOM, Name: "x", MediaType: "x", Platform: "linux/arm64"}}, "is about linux/arm64"},
		"digest":        {func(i *Image) { i.Digest = "sha256:x" }, good, "digest"},
		"reference":     {func(i *Image) { i.Reference = "A/B" }, good, "image name"},
		"image without": {func(i *Image) { i.Platform = "" }, good, "platform"},
		"nothing":       {nil, nil, "no documents"},
	} {
		t.Run(name, func(t *testing.T) {
			img := img
			if tt.img != nil {
				tt.img(&img)
			}
			dir := t.TempDir()
			_, err := open(t, dir, Options{}).Put(t.Context(), img, tt.docs)
			require.ErrorContains(t, err, tt.want)
			require.Empty(t, files(t, dir))
		})
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("interrupted")
	cancel(why)
	dir := t.TempDir()
	_, err := open(t, dir, Options{}).Put(ctx, testImage(), testDocuments(testImage()))
	require.ErrorIs(t, err, why)
	require.Empty(t, files(t, dir))
}

// pairVerifier is as strict as keyless signing: a signature is good only with the
// bundle of the same run.
type pairVerifier struct{ digestVerifier }

func (v pairVerifier) Verify(ctx context.Context, data, sig, bundle []byte) error {
	if bundle == nil {
		return errors.New("a signature alone does not say who signed")
	}
	if sig != nil && string(sig) != string(bundle) {
		return errors.New("the signature is of another run")
	}
	return v.digestVerifier.Verify(ctx, data, sig, bundle)
}

// A run that was broken off between a bundle and its signature leaves no pair that
// does not fit.
func TestPairsOfABrokenRun(t *testing.T) {
	img := testImage()
	run := func(salt string) []artifact.Artifact {
		doc := testDocuments(img)[0]
		return []artifact.Artifact{
			doc,
			{Kind: artifact.SBOM, Name: doc.Name + ".sig", MediaType: artifact.TypeSignature, Data: sign(doc.Data, salt)},
			{Kind: artifact.SBOM, Name: doc.Name + ".sigstore.json", MediaType: artifact.TypeBundle, Data: sign(doc.Data, salt)},
		}
	}
	for name, tt := range map[string]struct{ missing, want string }{
		"whole":        {"", "first"},
		"no signature": {".sig", "second"},
		"no bundle":    {".sigstore.json", "second"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, Options{Verifier: pairVerifier{}})
			first, err := s.Upload(t.Context(), img, run("first"))
			require.NoError(t, err)
			if tt.missing != "" {
				require.NoError(t, os.Remove(filepath.Join(dir, first.Entries[0].Path+tt.missing)))
			}
			r, err := s.Put(t.Context(), img, run("second"))
			require.NoError(t, err)
			data, err := s.Get(t.Context(), *r.Entries[0].Signature)
			require.NoError(t, err)
			require.Equal(t, string(sign(run("")[0].Data, tt.want)), string(data))
			v, err := s.Verify(t.Context(), img.Digest, VerifyOptions{Verifier: pairVerifier{}})
			require.NoError(t, err)
			require.NoError(t, v.Err())
			require.Equal(t, 2, v.Signatures)
		})
	}
}
