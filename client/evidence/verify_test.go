package evidence

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/artifact"
)

// One changed byte in any object is found and named, and so is a missing object.
func TestVerifyNamesWhatWasTamperedWith(t *testing.T) {
	dir := t.TempDir()
	img := testImage()
	s := open(t, dir, Options{})
	docs := testDocuments(img)
	docs = append(docs, artifact.Artifact{
		Kind: artifact.Attestation, Name: docs[2].Name + artifact.EnvelopeSuffix, MediaType: artifact.TypeBundle, Data: docs[2].Data,
	})
	_, err := s.Put(t.Context(), img, docs)
	require.NoError(t, err)
	checked := 0
	for p, content := range files(t, dir) {
		if strings.HasPrefix(p, refsDir+"/") {
			continue
		}
		checked++
		full := filepath.Join(dir, p)
		for name, tamper := range map[string]func() error{
			"first byte":  func() error { return os.WriteFile(full, append([]byte{content[0] ^ 1}, content[1:]...), 0o644) },
			"last byte":   func() error { return os.WriteFile(full, []byte(content[:len(content)-1]+"!"), 0o644) },
			"longer":      func() error { return os.WriteFile(full, []byte(content+" "), 0o644) },
			"shorter":     func() error { return os.WriteFile(full, []byte(content[:len(content)-1]), 0o644) },
			"empty":       func() error { return os.WriteFile(full, nil, 0o644) },
			"a directory": func() error { return os.Remove(full) },
		} {
			if name == "a directory" && strings.HasPrefix(p, indexDir+"/") {
				continue // an index without any document says nothing is stored
			}
			t.Run(p+"/"+name, func(t *testing.T) {
				require.NoError(t, tamper())
				defer func() { require.NoError(t, os.WriteFile(full, []byte(content), 0o644)) }()
				v, err := s.Verify(t.Context(), img.Digest, VerifyOptions{})
				require.NoError(t, err)
				var verr *VerificationError
				require.ErrorAs(t, v.Err(), &verr)
				require.Equal(t, p, verr.Problems[0].Path)
				require.ErrorContains(t, verr, p)
			})
		}
	}
	require.Equal(t, 9, checked)
	v, err := s.Verify(t.Context(), img.Digest, VerifyOptions{Verifier: digestVerifier{}})
	require.NoError(t, err)
	require.NoError(t, v.Err(), "all was put back")
}

func TestTamperedIndexAndReferences(t *testing.T) {
	dir := t.TempDir()
	img := testImage()
	s := open(t, dir, Options{})
	_, err := s.Put(t.Context(), img, testDocuments(img))
	require.NoError(t, err)
	for p, content := range files(t, dir) {
		var read func() error
		switch {
		case strings.HasPrefix(p, indexDir+"/"):
			read = func() error { _, err := s.Index(t.Context(), img.Digest); return err }
		case strings.HasPrefix(p, refsDir+"/_index/"):
			read = func() error { _, err := s.Find(t.Context(), string(img.Index), false); return err }
		case strings.HasPrefix(p, refsDir+"/"):
			read = func() error { _, err := s.Find(t.Context(), img.Reference, false); return err }
		default:
			continue
		}
		require.NoError(t, read())
		full := filepath.Join(dir, p)
		require.NoError(t, os.WriteFile(full, []byte(strings.Replace(content, "linux", "linuX", 1)), 0o644))
		var rerr *RecordError
		require.ErrorAs(t, read(), &rerr)
		require.Equal(t, p, rerr.Path)
		require.NoError(t, os.WriteFile(full, []byte(content), 0o644))
	}
}

// Whoever can write to the store can make the index agree with what he changed.
// Signatures and provenance show it.
func TestForgery(t *testing.T) {
	img := testImage()
	for name, tt := range map[string]struct {
		forge  func(docs []artifact.Artifact) []artifact.Artifact
		strict bool
		want   string
	}{
		"content": {func(d []artifact.Artifact) []artifact.Artifact {
			d[1].Data = []byte(`{"scan":"harmless"}`)
			return d
		}, true, "scan-app-amd64.json.sig: it does not verify scan-app-amd64.json: the signature is of something else"},
		"content, seen by provenance": {func(d []artifact.Artifact) []artifact.Artifact {
			d[1].Data = []byte(`{"scan":"harmless"}`)
			return d
		}, false, "scan-app-amd64.json: attestation-app-amd64.json says that its digest is sha256:"},
		"left out": {func(d []artifact.Artifact) []artifact.Artifact {
			return []artifact.Artifact{d[0], d[2], d[3], d[4], d[6]}
		}, true, `attestation-app-amd64.json: its byproduct "scan-app-amd64.json" with digest sha256:`},
		"unsigned": {func(d []artifact.Artifact) []artifact.Artifact { return d[:6] }, true, "attestation-app-amd64.json: it is not signed"},
		"of another image": {func(d []artifact.Artifact) []artifact.Artifact {
			d[2].Data = statementAbout(digest.FromString("another"), d[0], d[1])
			d[6].Data = sign(d[2].Data, "1")
			return d
		}, true, "attestation-app-amd64.json: it is about another image"},
		"envelope of another statement": {func(d []artifact.Artifact) []artifact.Artifact {
			return append(d, artifact.Artifact{
				Kind: artifact.Attestation, Name: d[2].Name + artifact.EnvelopeSuffix, MediaType: artifact.TypeBundle,
				Data: statementAbout(img.Digest, d[0]),
			})
		}, true, "attestation-app-amd64.json.dsse.sigstore.json: it does not verify attestation-app-amd64.json: it holds something else"},
		"no statement": {func(d []artifact.Artifact) []artifact.Artifact {
			d[2].Data = []byte(`{}`)
			d[6].Data = sign(d[2].Data, "1")
			return d
		}, true, "it is no in-toto statement"},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), Options{})
			_, err := s.Put(t.Context(), img, tt.forge(testDocuments(img)))
			require.NoError(t, err)
			o := VerifyOptions{}
			if tt.strict {
				o.Verifier = digestVerifier{}
			}
			v, err := s.Verify(t.Context(), img.Digest, o)
			require.NoError(t, err)
			require.ErrorContains(t, v.Err(), tt.want)
		})
	}
}

func TestVerifyFindsGapsAndLeftovers(t *testing.T) {
	dir := t.TempDir()
	img := testImage()
	s := open(t, dir, Options{})
	docs := testDocuments(img)
	first, err := s.Put(t.Context(), img, docs[:1])
	require.NoError(t, err)
	_, err = s.Put(t.Context(), img, docs[1:2])
	require.NoError(t, err)
	_, err = s.Upload(t.Context(), img, docs[2:3])
	require.NoError(t, err)
	v, err := s.Verify(t.Context(), img.Digest, VerifyOptions{})
	require.NoError(t, err)
	require.NoError(t, v.Err())
	require.Len(t, v.Notes, 1)
	require.Contains(t, v.Notes[0].String(), "attestation-app-amd64.json: no index names it")

	require.NoError(t, os.Remove(filepath.Join(dir, first.Record)))
	v, err = s.Verify(t.Context(), img.Digest, VerifyOptions{})
	require.NoError(t, err)
	require.ErrorContains(t, v.Err(), "an index document with number 0001 is missing")
}

func TestFolderIsNotLeft(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	img := testImage()
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "sboms")))
	_, err := open(t, dir, Options{}).Put(t.Context(), img, testDocuments(img)[:1])
	require.Error(t, err)
	require.Empty(t, files(t, outside))
}

// A store that answers without end is not read without end.
func TestLimits(t *testing.T) {
	dir := t.TempDir()
	img := testImage()
	s := open(t, dir, Options{})
	_, err := s.Put(t.Context(), img, testDocuments(img)[:1])
	require.NoError(t, err)
	for p := range files(t, dir) {
		f, err := os.OpenFile(filepath.Join(dir, p), os.O_WRONLY, 0)
		require.NoError(t, err)
		require.NoError(t, f.Truncate(1<<40))
		require.NoError(t, f.Close())
	}
	var rerr *RecordError
	_, err = s.Index(t.Context(), img.Digest)
	require.ErrorAs(t, err, &rerr)
	require.ErrorContains(t, err, "larger than it may be")
	_, err = s.Find(t.Context(), img.Reference, false)
	require.ErrorAs(t, err, &rerr)
	v, err := s.Verify(t.Context(), img.Digest, VerifyOptions{})
	require.NoError(t, err)
	require.ErrorContains(t, v.Err(), "larger than it may be")
}
