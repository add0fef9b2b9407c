package evidence

import (
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/artifact"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The index is hostile: it must not lead to other objects than those about the
// image.
func TestParseRecordRefuses(t *testing.T) {
	img := testImage()
	valid := func() record {
		return record{SchemaVersion: 1, MediaType: TypeRecord, Image: img, Documents: []Entry{{
			Kind: artifact.SBOM, Name: "sbom.json", MediaType: artifact.TypeJSON,
			Object: Object{Path: documentPath(img, artifact.SBOM, "sbom.json"), Size: 1, Digest: digest.FromString("x")},
		}}}
	}
	good := valid()
	data, err := encode(good)
	require.NoError(t, err)
	got, err := parseRecord(data, img.Digest)
	require.NoError(t, err)
	require.Equal(t, good, *got)

	for name, tt := range map[string]struct {
		change func(*record)
		want   string
	}{
		"type":       {func(r *record) { r.MediaType = "x" }, `it is of type "x"`},
		"version":    {func(r *record) { r.SchemaVersion = 2 }, "version 2"},
		"image":      {func(r *record) { r.Image.Digest = digest.FromString("other") }, "it is about sha256:"},
		"platform":   {func(r *record) { r.Image.Platform = "../.." }, "platform"},
		"reference":  {func(r *record) { r.Image.Reference = "A B" }, "image name"},
		"index":      {func(r *record) { r.Image.Index = "sha512:00" }, "digest"},
		"name":       {func(r *record) { r.Documents[0].Name = "../x" }, "it must be a file name"},
		"kind":       {func(r *record) { r.Documents[0].Kind = "x" }, "unknown kind"},
		"media type": {func(r *record) { r.Documents[0].MediaType = "" }, "no media type"},
		"traversal":  {func(r *record) { r.Documents[0].Path = "sboms/amd64/" + digestDir(img.Digest) + "/../../x" }, "has not the form"},
		"root":       {func(r *record) { r.Documents[0].Path = "/etc/shadow/x/y" }, "is not one of"},
		"elsewhere":  {func(r *record) { r.Documents[0].Path = "index/amd64/" + digestDir(img.Digest) + "/x" }, "is not one of"},
		"other image": {func(r *record) {
			r.Documents[0].Path = "sboms/amd64/" + digestDir(digest.FromString("other")) + "/x"
		}, "is not one of"},
		"negative size": {func(r *record) { r.Documents[0].Size = -1 }, "has a size of -1"},
		"huge size":     {func(r *record) { r.Documents[0].Size = 1 << 60 }, "has a size of"},
		"digest":        {func(r *record) { r.Documents[0].Digest = "sha256:zz" }, "digest"},
		"other digest":  {func(r *record) { r.Documents[0].Digest = digest.SHA512.FromString("") }, "only sha256"},
		"signature":     {func(r *record) { r.Documents[0].Signature = &Object{Path: "x"} }, "has not the form"},
		"many":          {func(r *record) { r.Documents = make([]Entry, MaxDocuments+1) }, "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			r := valid()
			tt.change(&r)
			data, err := encode(r)
			require.NoError(t, err)
			_, err = parseRecord(data, img.Digest)
			require.ErrorContains(t, err, tt.want)
		})
	}
	for name, text := range map[string]string{
		"nothing": "", "no JSON": "{", "a list": "[]", "deep": strings.Repeat("[", 100_000), "more": string(data) + "{}",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseRecord([]byte(text), img.Digest)
			require.Error(t, err)
		})
	}
}

// What the store adds of its own, byte by byte: auditors' programs read it.
func TestGoldenDocuments(t *testing.T) {
	dir := t.TempDir()
	img := testImage()
	_, err := open(t, dir, Options{}).Put(t.Context(), img, testDocuments(img))
	require.NoError(t, err)
	var got strings.Builder
	all := files(t, dir)
	for _, p := range slices.Sorted(maps.Keys(all)) {
		got.WriteString("-- " + p + " --\n")
		if strings.HasPrefix(p, indexDir+"/") || strings.HasPrefix(p, refsDir+"/") {
			got.WriteString(all[p])
		}
	}
	const golden = "testdata/store.golden"
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(golden, []byte(got.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), got.String())
}

func FuzzParseRecord(f *testing.F) {
	img := testImage()
	data, err := encode(record{SchemaVersion: 1, MediaType: TypeRecord, Image: img, Documents: []Entry{{
		Kind: artifact.SBOM, Name: "sbom.json", MediaType: artifact.TypeJSON,
		Object: Object{Path: documentPath(img, artifact.SBOM, "sbom.json"), Size: 1, Digest: digest.FromString("x")},
	}}})
	require.NoError(f, err)
	f.Add(data)
	f.Add([]byte(`{"schemaVersion":1,"mediaType":"` + TypeRecord + `","image":{},"documents":[{"signature":{}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRecord(data, img.Digest)
		if err != nil {
			return
		}
		// What was accepted leads nowhere else, and is accepted again.
		for _, e := range r.Documents {
			for _, o := range e.objects() {
				require.Contains(t, o.Path, digestDir(img.Digest)+"/")
				require.NotContains(t, o.Path, "..")
			}
		}
		again, err := encode(r)
		require.NoError(t, err)
		_, err = parseRecord(again, img.Digest)
		require.NoError(t, err)
	})
}

func FuzzParseRef(f *testing.F) {
	data, err := encode(ref{SchemaVersion: 1, MediaType: TypeRef, Name: "docker.io/library/a:b", Image: testImage()})
	require.NoError(f, err)
	f.Add(data)
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = parseRef(data, "docker.io/library/a:b") })
}

func FuzzParseStatement(f *testing.F) {
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://slsa.dev/provenance/v1","subject":[{"digest":{"sha256":"00"}}],"predicate":{"runDetails":{"byproducts":[{"name":"a","digest":{"sha256":"00"}}]}}}`))
	f.Fuzz(func(_ *testing.T, data []byte) {
		st, err := parseStatement(data)
		if err != nil {
			return
		}
		_ = st.isAbout(testImage().Digest)
		for _, b := range st.byproducts() {
			_, _ = b.fileName(), b.label()
		}
	})
}

func TestNames(t *testing.T) {
	for _, tt := range []struct{ name, dir string }{
		{"nginx", "refs/docker.io/library/nginx/_tags/latest"},
		{"registry.example.com:5000/team/app:1", "refs/registry.example.com_5000/team/app/_tags/1"},
	} {
		named, err := canonical(tt.name)
		require.NoError(t, err)
		dir, err := tagDir(named)
		require.NoError(t, err)
		require.Equal(t, tt.dir, dir)
	}
	n, sum, ok := parseRecordName(formatRecordName(7, []byte("x")))
	require.True(t, ok)
	require.Equal(t, 7, n)
	require.Equal(t, short([]byte("x")), sum)
	for _, bad := range []string{"", "1-000000000000.json", "0000-000000000000.json", "0001-00000000000.json", "0001-000000000000.json.sig", "9999999999-000000000000.json"} {
		_, _, ok := parseRecordName(bad)
		require.False(t, ok, bad)
	}
}
