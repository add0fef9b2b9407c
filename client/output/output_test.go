package output

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for spec, want := range map[string]Output{
		"dir":                               {Type: "oci", Dest: "dir", Attrs: map[string]string{"tar": "false"}},
		"-":                                 {Type: "oci", Dest: "-", Attrs: map[string]string{}},
		"type=oci,dest=f.tar":               {Type: "oci", Dest: "f.tar", Attrs: map[string]string{}},
		"type=docker":                       {Type: "docker", Attrs: map[string]string{}},
		"type=image,name=a/b,push=true":     {Type: "image", Attrs: map[string]string{"name": "a/b", "push": "true"}},
		`type=oci,"dest=a,b",Compression=x`: {Type: "oci", Dest: "a,b", Attrs: map[string]string{"compression": "x"}},
		"type=cacheonly":                    {Type: "cacheonly", Attrs: map[string]string{}},
	} {
		got, err := Parse(spec)
		require.NoError(t, err, spec)
		require.Empty(t, cmp.Diff(want, got), spec)
	}
	for spec, says := range map[string]string{
		"":                               "empty",
		"type=registry,ref=x":            "before anybody has signed it",
		"type=rpm,dest=x":                `"rpm" is not one of`,
		"dest=x,y=z":                     "type is missing",
		"type=oci":                       "needs dest",
		"type=local,dest=-":              "standard output",
		"type=oci,tar=false,dest=-":      "standard output",
		"type=docker,tar=false":          "needs dest=DIR",
		"type=oci,dest":                  "KEY=VALUE",
		"type=image,dest=x":              "name=x",
		"type=image,push=maybe":          "true or false",
		"type=image,push-by-digest=0":    "before anybody has signed it",
		"type=cacheonly,dest=x":          "no dest",
		`type=oci,"dest=x`:               "",
		"type=tar":                       "needs dest",
		"type=local,dest=":               "needs dest",
		"type=image,name=a,push=true,xx": "KEY=VALUE",
	} {
		_, err := Parse(spec)
		require.ErrorContains(t, err, says)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"dir", "-", "type=oci,dest=x", `"a""b",c`, "type=image,name=a,push=true"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		o, err := Parse(spec)
		if err != nil {
			return
		}
		if o.Type == "registry" || o.Type == "" {
			t.Fatalf("accepted %+v", o)
		}
		_, _ = o.ExporterAttrs([]string{"a:1"}, nil, true)
	})
}

func TestExporterAttrs(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spec  string
		tags  []string
		epoch bool
		want  map[string]string
		fails string
	}{
		{name: "tags of a layout", spec: "d", tags: []string{"app", "example.com/app:2"},
			want: map[string]string{"tar": "false", "name": "docker.io/library/app:latest,example.com/app:2"}},
		{name: "its own name wins", spec: "type=oci,dest=f,name=x:1", tags: []string{"app"}, want: map[string]string{"name": "docker.io/library/x:1"}},
		{name: "a push has no tag", spec: "type=image,push=true", tags: []string{"example.com/app:1", "example.com/app:2"},
			want: map[string]string{"push": "true", "name": "example.com/app", "push-by-digest": "true", "unpack": "false"}},
		{name: "a push needs a name", spec: "type=image,push=true", fails: "needs name"},
		{name: "bad name", spec: "type=oci,dest=f", tags: []string{"A B"}, fails: `image name "A B"`},
		{name: "epoch", spec: "d", epoch: true, want: map[string]string{"tar": "false", "rewrite-timestamp": "true"}},
		{name: "epoch, but not wanted", spec: "type=oci,dest=f,rewrite-timestamp=false", epoch: true, want: map[string]string{"rewrite-timestamp": "false"}},
		{name: "epoch of an image that is unpacked", spec: "type=image,name=a", epoch: true, want: map[string]string{"name": "docker.io/library/a:latest"}},
		{name: "epoch of a pushed image", spec: "type=image,name=a,push=1", epoch: true,
			want: map[string]string{"name": "docker.io/library/a", "push": "1", "push-by-digest": "true", "unpack": "false", "rewrite-timestamp": "true"}},
		{name: "files", spec: "type=local,dest=x", tags: []string{"a"}, epoch: true, want: map[string]string{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, err := Parse(tc.spec)
			require.NoError(t, err)
			got, err := o.ExporterAttrs(tc.tags, nil, tc.epoch)
			if tc.fails != "" {
				require.ErrorContains(t, err, tc.fails)
				return
			}
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(tc.want, got))
		})
	}
}

func TestDefault(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "my app")
	require.NoError(t, os.Mkdir(dir, 0o755))
	t.Chdir(dir)
	for in, want := range map[string]string{"": "my app.oci", ".": "my app.oci", dir: "my app.oci", "/": "image.oci", "-": "image.oci", "https://example.com/x.git": "image.oci"} {
		o, err := Default(in)
		require.NoError(t, err)
		require.Equal(t, want, o.Dest, in)
		require.True(t, o.Dir())
	}
}
