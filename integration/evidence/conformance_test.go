package evidence

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/evidence"
	"github.com/temper-images/temper/integration/fault"
	"github.com/temper-images/temper/integration/objectstore"
)

// Every kind of store keeps the same promises.
func TestConformance(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Run("put, find, get, verify", func(t *testing.T) { putFindGetVerify(t, newPlace(t, kind)) })
			t.Run("same again", func(t *testing.T) { sameAgain(t, newPlace(t, kind)) })
			t.Run("other content", func(t *testing.T) { otherContent(t, newPlace(t, kind)) })
			t.Run("immutable", func(t *testing.T) { immutable(t, newPlace(t, kind)) })
			t.Run("writers at once", func(t *testing.T) { writersAtOnce(t, newPlace(t, kind)) })
			t.Run("sizes", func(t *testing.T) { sizes(t, newPlace(t, kind)) })
			t.Run("many records", func(t *testing.T) { manyRecords(t, newPlace(t, kind)) })
			t.Run("no bucket", func(t *testing.T) { noBucket(t, newPlace(t, kind)) })
		})
	}
}

func putFindGetVerify(t *testing.T, p place) {
	s := p.open(t, evidence.Options{})
	img := image("app")
	requireNothing(t, s, img)
	docs := documents(5, 10_000)
	r, err := s.Put(t.Context(), img, docs)
	require.NoError(t, err)
	require.Equal(t, 10, r.Sent)
	requireComplete(t, s, img, 5)
	for i, e := range r.Entries {
		data, err := s.Get(t.Context(), e.Object)
		require.NoError(t, err)
		require.Equal(t, docs[2*i].Data, data)
	}
	requireNothing(t, s, image("other"))
}

func sameAgain(t *testing.T, p place) {
	s := p.open(t, evidence.Options{})
	img := image("app")
	_, err := s.Put(t.Context(), img, documents(3, 1000))
	require.NoError(t, err)
	r, err := s.Put(t.Context(), img, documents(3, 1000))
	require.NoError(t, err)
	require.Zero(t, r.Sent)
	require.Equal(t, 6, r.Present)
	require.Empty(t, r.Record)
	requireComplete(t, s, img, 3)
}

func otherContent(t *testing.T, p place) {
	s := p.open(t, evidence.Options{})
	img := image("app")
	docs := documents(1, 1000)
	first, err := s.Put(t.Context(), img, docs)
	require.NoError(t, err)
	changed := []artifact.Artifact{docs[0], docs[1]}
	changed[0].Data = []byte("another")
	changed[1].Data = []byte(digest.FromString("another"))
	second, err := s.Put(t.Context(), img, changed)
	require.NoError(t, err)
	require.NotEqual(t, first.Entries[0].Path, second.Entries[0].Path)
	data, err := s.Get(t.Context(), first.Entries[0].Object)
	require.NoError(t, err)
	require.Equal(t, docs[0].Data, data)
	index, err := s.Index(t.Context(), img.Digest)
	require.NoError(t, err)
	require.Equal(t, second.Entries, index.Current())
	require.Len(t, index.Documents, 2)
	v, err := s.Verify(t.Context(), img.Digest, evidence.VerifyOptions{Verifier: byDigest{}})
	require.NoError(t, err)
	require.NoError(t, v.Err())
}

func immutable(t *testing.T, p place) {
	img := image("app")
	docs := documents(1, 1000)
	_, err := p.open(t, evidence.Options{}).Put(t.Context(), img, docs)
	require.NoError(t, err)
	changed := []artifact.Artifact{docs[0]}
	changed[0].Data = []byte("another")
	_, err = p.open(t, evidence.Options{Immutable: true}).Put(t.Context(), img, changed)
	requireReason(t, err, evidence.Conflict)
	requireComplete(t, p.open(t, evidence.Options{}), img, 1)
}

func writersAtOnce(t *testing.T, p place) {
	img := image("app")
	const writers = 6
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for i := range writers {
		s := p.open(t, evidence.Options{})
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
	s := p.open(t, evidence.Options{})
	v, err := s.Verify(t.Context(), img.Digest, evidence.VerifyOptions{})
	require.NoError(t, err)
	require.NoError(t, v.Err())
	require.Empty(t, v.Notes)
	index, err := s.Index(t.Context(), img.Digest)
	require.NoError(t, err)
	require.Len(t, index.Documents, 1+2*writers)
	require.Len(t, index.Current(), writers+2)
}

// Objects at and above the sizes at which the SDKs would send parts.
func sizes(t *testing.T, p place) {
	s := p.open(t, evidence.Options{})
	img := image("app")
	var docs []artifact.Artifact
	for i, size := range []int{0, 1, 5 << 20, 8<<20 + 1, 17 << 20} {
		a := documents(1, size)
		a[0].Name = fmt.Sprintf("%d.json", i)
		docs = append(docs, a[0])
	}
	r, err := s.Put(t.Context(), img, docs)
	require.NoError(t, err)
	for i, e := range r.Entries {
		data, err := s.Get(t.Context(), e.Object)
		require.NoError(t, err)
		require.Equal(t, digest.FromBytes(docs[i].Data), digest.FromBytes(data))
	}
}

func manyRecords(t *testing.T, p place) {
	s := p.open(t, evidence.Options{})
	img := image("app")
	const runs = 12
	for i := range runs {
		_, err := s.Put(t.Context(), img, []artifact.Artifact{{Kind: artifact.Scan, Name: "scan.json", MediaType: artifact.TypeJSON, Data: fmt.Appendf(nil, "%d", i)}})
		require.NoError(t, err)
	}
	index, err := s.Index(t.Context(), img.Digest)
	require.NoError(t, err)
	require.Len(t, index.Records, runs)
	require.Len(t, index.Documents, runs)
	require.Equal(t, digest.FromString("11"), index.Current()[0].Digest)
}

func noBucket(t *testing.T, p place) {
	if p.kind == folder {
		// A folder is made; what is there and is none is refused.
		file := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(file, nil, 0o644))
		p.url = file
		_, err := p.open(t, evidence.Options{}).Put(t.Context(), image("app"), documents(1, 10))
		require.ErrorContains(t, err, file)
		return
	}
	p.url = strings.Replace(p.url, "://"+objectstore.Bucket+"/", "://missing/", 1)
	s := p.open(t, evidence.Options{})
	_, err := s.Put(t.Context(), image("app"), documents(1, 10))
	requireReason(t, err, evidence.NoBucket)
	_, err = s.Index(t.Context(), image("app").Digest)
	requireReason(t, err, evidence.NoBucket)
}

// What others see in the bucket: paths and content types, nothing beside.
func TestObjectsInTheBucket(t *testing.T) {
	p := newPlace(t, objectstore.S3)
	r, err := p.open(t, evidence.Options{}).Put(t.Context(), image("app"), documents(1, 10))
	require.NoError(t, err)
	client := servers[objectstore.S3].S3Client()
	prefix := "team/" + t.Name() + "/"
	list, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(objectstore.Bucket), Prefix: aws.String(prefix)})
	require.NoError(t, err)
	hex := image("app").Digest.Encoded()
	types := map[string]string{}
	for _, o := range list.Contents {
		head, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(objectstore.Bucket), Key: o.Key})
		require.NoError(t, err)
		key := strings.TrimPrefix(*o.Key, prefix)
		if strings.HasPrefix(key, "refs/") {
			key = filepath.Dir(key)
		}
		types[key] = *head.ContentType
	}
	require.Equal(t, map[string]string{
		r.Entries[0].Path:           artifact.TypeJSON,
		r.Entries[0].Signature.Path: artifact.TypeSignature,
		r.Record:                    evidence.TypeRecord,
		"refs/registry.example.com_5000/team/app/_tags/1/amd64":                                      evidence.TypeRef,
		"refs/_index/sha256-" + strings.TrimPrefix(string(image("app").Index), "sha256:") + "/amd64": evidence.TypeRef,
	}, types)
	require.Equal(t, "sboms/amd64/sha256-"+hex+"/document-00-app-amd64.json", r.Entries[0].Path)
	require.Equal(t, "s3://evidence/"+prefix+r.Record, p.open(t, evidence.Options{}).Locate(r.Record))
}

// An object that somebody changes in the bucket is named, whatever it is.
func TestTamperedObjectsInTheBucket(t *testing.T) {
	p := newPlace(t, objectstore.S3)
	s := p.open(t, evidence.Options{})
	img := image("app")
	_, err := s.Put(t.Context(), img, documents(2, 100))
	require.NoError(t, err)
	client := servers[objectstore.S3].S3Client()
	prefix := "team/" + t.Name() + "/"
	list, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(objectstore.Bucket), Prefix: aws.String(prefix)})
	require.NoError(t, err)
	tampered := 0
	for _, o := range list.Contents {
		key := strings.TrimPrefix(*o.Key, prefix)
		if strings.HasPrefix(key, "refs/") {
			continue
		}
		tampered++
		got, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(objectstore.Bucket), Key: o.Key})
		require.NoError(t, err)
		data, err := io.ReadAll(got.Body)
		require.NoError(t, err)
		for _, text := range []string{string(data[:len(data)-1]) + "!", string(data)} {
			_, err = client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(objectstore.Bucket), Key: o.Key, Body: strings.NewReader(text)})
			require.NoError(t, err)
			v, err := s.Verify(t.Context(), img.Digest, evidence.VerifyOptions{})
			require.NoError(t, err)
			if text == string(data) {
				require.NoError(t, v.Err())
				continue
			}
			require.ErrorContains(t, v.Err(), key)
		}
	}
	require.Equal(t, 5, tampered)
}

// Each write has the store create only, and check the content on arrival.
func TestConditionalWrites(t *testing.T) {
	p := newPlace(t, objectstore.S3)
	headers := make(chan http.Header, 100)
	p.proxy.Set(func(r *http.Request) fault.Fault {
		if r.Method == http.MethodPut {
			headers <- r.Header.Clone()
		}
		return nil
	})
	_, err := p.open(t, evidence.Options{}).Put(t.Context(), image("app"), documents(1, 1000))
	require.NoError(t, err)
	close(headers)
	seen := 0
	for h := range headers {
		seen++
		require.Equal(t, "*", h.Get("If-None-Match"))
		require.NotEmpty(t, h.Get("Content-Md5"))
		require.NotEmpty(t, h.Get("X-Amz-Checksum-Sha256"))
	}
	require.Equal(t, 5, seen)
}

// A server that knows no conditional writes says so, and is looked at first.
func TestNoConditionalWrites(t *testing.T) {
	p := newPlace(t, objectstore.S3)
	refused := 0
	p.proxy.Set(func(r *http.Request) fault.Fault {
		if r.Header.Get("If-None-Match") == "" {
			return nil
		}
		refused++
		return fault.Reply(http.StatusNotImplemented, http.Header{"Content-Type": {"application/xml"}},
			`<Error><Code>NotImplemented</Code><Message>A header you provided implies functionality that is not implemented.</Message></Error>`)
	})
	s := p.open(t, evidence.Options{})
	_, err := s.Put(t.Context(), image("app"), documents(3, 1000))
	require.NoError(t, err)
	require.Equal(t, 9, refused)
	changed := documents(1, 1000)
	changed[0].Data = []byte("another")
	r, err := s.Put(t.Context(), image("app"), changed[:1])
	require.NoError(t, err)
	require.Contains(t, r.Entries[0].Path, digest.FromString("another").Encoded()[:12])
}
