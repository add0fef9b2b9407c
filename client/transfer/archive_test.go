package transfer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/transfer"
)

func save(t testing.TB, p published, directory bool) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.tar")
	result, err := transfer.Save(t.Context(), p.image(), path, directory, transfer.Options{Verify: signedBy(signerNo(t, 0))})
	require.NoError(t, err)
	require.Equal(t, p.top.Digest, result.Image)
	return path
}

// What is saved is read, verified and loaded without the registry that it came from.
func TestSaveAndLoad(t *testing.T) {
	for kind, source := range kinds {
		for _, directory := range []bool{false, true} {
			t.Run(kind+map[bool]string{true: ", directory"}[directory], func(t *testing.T) {
				p := publish(t, serve(t, source(), "team/app"), "1.0")
				path := save(t, p, directory)
				a, err := transfer.OpenArchive(t.Context(), path)
				require.NoError(t, err)
				defer a.Close()
				for _, ref := range []string{"", p.repo.Name().Name() + ":1.0", p.top.Digest.String()} {
					top, name, err := a.Resolve(ref)
					require.NoError(t, err)
					require.Equal(t, p.top.Digest, top.Digest)
					require.Equal(t, p.repo.Name().Name()+":1.0", name)
				}
				_, _, err = a.Resolve("other:1")
				var input *transfer.InputError
				require.ErrorAs(t, err, &input)
				p.requireArrived(t, a)
				for kind, destination := range kinds {
					dst := serve(t, destination(), "app")
					result, err := transfer.Load(t.Context(), path, "", dst, func(name string) string {
						require.Equal(t, p.repo.Name().Name()+":1.0", name)
						return "2.0"
					}, transfer.Options{Verify: signedBy(signerNo(t, 0))})
					require.NoError(t, err, kind)
					require.Equal(t, dst.Name().Name()+":2.0", result.Name)
					p.requireArrived(t, dst)
				}
			})
		}
	}
}

// The same image gives the same bytes, whatever registry it comes from.
func TestSaveIsDeterministic(t *testing.T) {
	p := publish(t, serve(t, withAPI(), "team/app"), "1.0")
	first, err := os.ReadFile(save(t, p, false))
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "app.tar")
	require.NoError(t, os.WriteFile(path, []byte("what is there is replaced"), 0o600))
	_, err = transfer.Save(t.Context(), p.image(), path, false, transfer.Options{})
	require.NoError(t, err)
	again, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(first, again))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o644), info.Mode())

	dst := serve(t, withoutAPI(), "app")
	_, err = transfer.Copy(t.Context(), p.image(), dst, "1.0", transfer.Options{})
	require.NoError(t, err)
	img := p.image()
	img.Source = dst
	_, err = transfer.Save(t.Context(), img, path, false, transfer.Options{})
	require.NoError(t, err)
	again, err = os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(first, again))
}

// The index names the image first, and what is attached by no name of its own.
func TestIndexOfArchive(t *testing.T) {
	p := publish(t, serve(t, withAPI(), "team/app"), "1.0")
	members, _ := untar(t, save(t, p, false))
	var index ocispecs.Index
	require.NoError(t, json.Unmarshal(members["index.json"], &index))
	require.Equal(t, p.top.Digest, index.Manifests[0].Digest)
	name := p.repo.Name().Name() + ":1.0"
	names := map[string]digest.Digest{}
	for i, d := range index.Manifests {
		ref := d.Annotations[ocispecs.AnnotationRefName]
		require.Equal(t, i == 0, ref == name, "%+v", d)
		if ref != "" {
			names[ref] = d.Digest
		}
		if d.Digest == p.all["sbom"] {
			require.Equal(t, "application/vnd.cyclonedx+json", d.ArtifactType)
			require.Empty(t, ref, "an attached manifest's annotation is not its name")
		}
	}
	require.Equal(t, p.all["sbom tag"], names[referrer.FallbackTag(p.amd.Digest)+".sbom"])
	require.Equal(t, p.all["sig tag of "+p.top.Digest.String()], names[referrer.SignatureTag(p.top.Digest)])
	require.Contains(t, names, referrer.FallbackTag(p.arm.Digest), "the index of what has no subject")
}

// member is one of a tar that a test changes.
type member struct {
	header *tar.Header
	data   []byte
}

func untar(t testing.TB, path string) (map[string][]byte, []member) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	content := map[string][]byte{}
	var list []member
	rd := tar.NewReader(f)
	for {
		h, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return content, list
		}
		require.NoError(t, err)
		data, err := io.ReadAll(rd)
		require.NoError(t, err)
		content[h.Name] = data
		list = append(list, member{h, data})
	}
}

func retar(t testing.TB, list []member) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range list {
		if m.header.Typeflag == tar.TypeReg {
			m.header.Size = int64(len(m.data))
		}
		require.NoError(t, w.WriteHeader(m.header))
		_, err := w.Write(m.data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	path := filepath.Join(t.TempDir(), "bad.tar")
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
	return path
}

// Nothing of a bad archive is pushed, and the error says what is bad.
func TestBadArchives(t *testing.T) {
	p := publish(t, serve(t, withAPI(), "team/app"), "1.0")
	good := save(t, p, false)
	whole, err := os.ReadFile(good)
	require.NoError(t, err)
	raw := func(data []byte) func(*testing.T) string {
		return func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "bad.tar")
			require.NoError(t, os.WriteFile(path, data, 0o600))
			return path
		}
	}
	changed := func(change func([]member) []member) func(*testing.T) string {
		return func(t *testing.T) string {
			_, list := untar(t, good)
			return retar(t, change(list))
		}
	}
	extra := func(h tar.Header, data string) func(*testing.T) string {
		return changed(func(list []member) []member { return append(list, member{&h, []byte(data)}) })
	}
	blob := "blobs/sha256/" + digest.FromBytes(bytes.Repeat([]byte("base"), 50_000)).Encoded()
	sbom := "blobs/sha256/" + digest.FromString("sbom").Encoded()
	without := func(name string) func(*testing.T) string {
		return changed(func(list []member) []member {
			return slices.DeleteFunc(list, func(m member) bool { return m.header.Name == name })
		})
	}
	rewritten := func(name string, f func(string) string) func(*testing.T) string {
		return changed(func(list []member) []member {
			for i := range list {
				if list[i].header.Name == name {
					list[i].data = []byte(f(string(list[i].data)))
				}
			}
			return list
		})
	}
	for name, test := range map[string]struct {
		make func(*testing.T) string
		says string
	}{
		"empty":                  {raw(nil), "empty"},
		"no tar":                 {raw(bytes.Repeat([]byte("no tar "), 1000)), "no whole tar archive"},
		"gzip":                   {raw([]byte{0x1f, 0x8b, 8, 0, 0}), "decompress it first (gunzip)"},
		"zstd":                   {raw([]byte{0x28, 0xb5, 0x2f, 0xfd, 0}), "zstd -d"},
		"truncated in a blob":    {raw(whole[:len(whole)-100_000]), "ends in the middle of its member"},
		"truncated in a header":  {raw(whole[:1024+100]), "no whole tar archive"},
		"truncated after a blob": {raw(whole[:4096+512]), ""},
		"no layout":              {without("oci-layout"), "no OCI image layout"},
		"no index":               {without("index.json"), "no OCI image layout"},
		"another layout":         {rewritten("oci-layout", func(string) string { return `{"imageLayoutVersion":"2.0.0"}` }), "version 1"},
		"no JSON":                {rewritten("index.json", func(s string) string { return s[1:] }), "index.json"},
		"a blob is missing":      {without(blob), "is not whole"},
		"an SBOM is missing":     {without(sbom), "is not whole"},
		"a manifest is missing":  {without("blobs/sha256/" + p.amd.Digest.Encoded()), "is not whole"},
		"a referrer is missing":  {without("blobs/sha256/" + p.all["sbom"].Encoded()), "is not whole"},
		"a blob is flipped":      {rewritten(blob, func(s string) string { return "BASE" + s[4:] }), "other content than its digest says"},
		"a blob is shorter":      {rewritten(blob, func(s string) string { return s[1:] }), "bytes and not"},
		"a manifest is flipped":  {rewritten("blobs/sha256/"+p.all["sbom"].Encoded(), func(s string) string { return s + " " }), "other content than its digest says"},
		"a traversal":            {extra(tar.Header{Typeflag: tar.TypeReg, Name: "../../etc/passwd", Mode: 0o600}, "root"), "outside"},
		"an absolute path":       {extra(tar.Header{Typeflag: tar.TypeReg, Name: "/etc/passwd", Mode: 0o600}, "root"), "outside"},
		"a symlink":              {extra(tar.Header{Typeflag: tar.TypeSymlink, Name: "blobs/sha256/link", Linkname: "/etc/passwd"}, ""), "neither a file nor a directory"},
		"a hard link":            {extra(tar.Header{Typeflag: tar.TypeLink, Name: "blobs/sha256/link", Linkname: "index.json"}, ""), "neither a file nor a directory"},
		"a device":               {extra(tar.Header{Typeflag: tar.TypeChar, Name: "blobs/sha256/dev"}, ""), "neither a file nor a directory"},
		"a file twice":           {extra(tar.Header{Typeflag: tar.TypeReg, Name: "./index.json", Mode: 0o600}, "{}"), "twice"},
		"an endless index":       {rewritten("index.json", func(string) string { return strings.Repeat(" ", 17<<20) }), "more than"},
		"a huge manifest":        {rewritten("blobs/sha256/"+p.top.Digest.Encoded(), func(s string) string { return s + strings.Repeat(" ", 5<<20) }), "more than"},
		"too many manifests":     {rewritten("index.json", tooMany), "more than 10000 manifests"},
		"no digest":              {rewritten("index.json", func(s string) string { return strings.ReplaceAll(s, "sha256:", "sha256:../../") }), "digest"},
		"two of one name":        {rewritten("index.json", twice), "twice"},
	} {
		t.Run(name, func(t *testing.T) {
			path := test.make(t)
			rec := &recorder{Handler: withAPI()}
			_, err := transfer.Load(t.Context(), path, "", serve(t, rec, "app"), func(string) string { return "1" }, transfer.Options{})
			var bad *transfer.ArchiveError
			require.ErrorAs(t, err, &bad)
			require.Equal(t, path, bad.Path)
			require.ErrorContains(t, err, test.says)
			require.Empty(t, rec.puts)
		})
	}
}

func tooMany(string) string {
	var index ocispecs.Index
	index.Manifests = make([]ocispecs.Descriptor, 10_001)
	data, _ := json.Marshal(index)
	return string(data)
}

func twice(s string) string {
	var index ocispecs.Index
	_ = json.Unmarshal([]byte(s), &index)
	index.Manifests[1].Annotations = index.Manifests[0].Annotations
	data, _ := json.Marshal(index)
	return string(data)
}

// failing is a source whose blobs end too early.
type failing struct {
	transfer.Source
}

func (f failing) Blob(ctx context.Context, desc ocispecs.Descriptor) (io.ReadCloser, error) {
	rc, err := f.Source.Blob(ctx, desc)
	if err != nil || desc.Size < 1000 {
		return rc, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(rc, 500), rc}, nil
}

// A save that fails leaves nothing, and what was there.
func TestSaveFails(t *testing.T) {
	p := publish(t, serve(t, withAPI(), "team/app"), "1.0")
	dir := t.TempDir()
	path := filepath.Join(dir, "app.tar")
	require.NoError(t, os.WriteFile(path, []byte("before"), 0o600))
	img := p.image()
	img.Source = failing{p.repo}
	_, err := transfer.Save(t.Context(), img, path, false, transfer.Options{})
	require.ErrorContains(t, err, "another size")
	_, err = transfer.Save(t.Context(), p.image(), path, false, transfer.Options{Verify: signedBy(signerNo(t, 1))})
	require.ErrorIs(t, err, errUnsigned)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	cancel(stop)
	_, err = transfer.Save(ctx, p.image(), path, false, transfer.Options{})
	require.ErrorIs(t, err, stop)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "before", string(data))
}

// A directory without its index is none yet, and the next attempt goes on with it.
func TestSaveDirectoryGoesOn(t *testing.T) {
	p := publish(t, serve(t, withAPI(), "team/app"), "1.0")
	dir := filepath.Join(t.TempDir(), "app")
	img := p.image()
	img.Source = failing{p.repo}
	_, err := transfer.Save(t.Context(), img, dir, true, transfer.Options{})
	require.ErrorContains(t, err, "another size")
	_, err = transfer.OpenArchive(t.Context(), dir)
	require.Error(t, err)
	// One that was damaged meanwhile is written anew.
	damaged := filepath.Join(dir, "blobs", "sha256", digest.FromString("{}").Encoded())
	require.NoError(t, os.MkdirAll(filepath.Dir(damaged), 0o755))
	require.NoError(t, os.WriteFile(damaged, []byte("[]"), 0o600))
	_, err = transfer.Save(t.Context(), p.image(), dir, true, transfer.Options{})
	require.NoError(t, err)
	a, err := transfer.OpenArchive(t.Context(), dir)
	require.NoError(t, err)
	defer a.Close()
	p.requireArrived(t, a)
	_, err = transfer.Save(t.Context(), p.image(), dir, true, transfer.Options{})
	require.ErrorContains(t, err, "not empty")
}

// What other programs wrote: tags for names, several images.
func TestOtherLayouts(t *testing.T) {
	p := publish(t, serve(t, withAPI(), "team/app"), "1.0")
	_, list := untar(t, save(t, p, false))
	for i := range list {
		if list[i].header.Name != "index.json" {
			continue
		}
		var index ocispecs.Index
		require.NoError(t, json.Unmarshal(list[i].data, &index))
		index.Manifests[0].Annotations = map[string]string{ocispecs.AnnotationRefName: "1.0"}
		// oras lists what an index lists, too.
		index.Manifests = append(index.Manifests, ocispecs.Descriptor{MediaType: p.amd.MediaType, Digest: p.amd.Digest, Size: p.amd.Size})
		index.Manifests = append(index.Manifests, ocispecs.Descriptor{MediaType: p.arm.MediaType, Digest: p.arm.Digest, Size: p.arm.Size,
			Annotations: map[string]string{ocispecs.AnnotationRefName: "arm"}})
		data, err := json.Marshal(index)
		require.NoError(t, err)
		list[i].data = data
	}
	a, err := transfer.OpenArchive(t.Context(), retar(t, list))
	require.NoError(t, err)
	defer a.Close()
	_, _, err = a.Resolve("")
	require.ErrorContains(t, err, "not one image but 2: name one of 1.0, arm")
	top, _, err := a.Resolve("1.0")
	require.NoError(t, err)
	require.Equal(t, p.top.Digest, top.Digest)
	_, _, err = a.Manifest(t.Context(), "2.0")
	require.ErrorIs(t, err, registry.ErrNotFound)
}

func FuzzOpenArchive(f *testing.F) {
	// Small ones, for the fuzzer to come far with.
	o := origin{f, serve(f, withAPI(), "team/app")}
	top := o.artifact("1.0", "text/plain", "content", nil, nil)
	o.artifact("", "text/plain", "attached", &top, nil)
	o.artifact(referrer.SignatureTag(top.Digest), "text/plain", "signature", nil, nil)
	path := filepath.Join(f.TempDir(), "app.tar")
	_, err := transfer.Save(f.Context(), transfer.Image{Source: o.repo, Top: top, Name: "app:1.0"}, path, false, transfer.Options{})
	require.NoError(f, err)
	_, list := untar(f, path)
	for _, path := range []string{path, retar(f, list), retar(f, list[:3])} {
		data, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "fuzz.tar")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		a, err := transfer.OpenArchive(ctx, path)
		if err != nil {
			return
		}
		defer a.Close()
		top, _, err := a.Resolve("")
		if err != nil {
			return
		}
		// What passes is whole.
		if err := a.Check(ctx, transfer.Image{Source: a, Top: top}, transfer.Options{}); err != nil {
			return
		}
		c, err := transfer.Collect(ctx, a, top, "")
		if err != nil {
			t.Fatal(err)
		}
		for dgst, m := range c.Manifests {
			if digest.FromBytes(m.Data) != dgst && dgst.Algorithm() == digest.SHA256 {
				t.Fatal(dgst)
			}
		}
	})
}
