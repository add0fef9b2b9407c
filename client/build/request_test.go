package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	bkclient "github.com/moby/buildkit/client"
	"github.com/stretchr/testify/require"
	"github.com/temper-images/temper/client/frontend"
)

var stock = &frontend.Frontend{Ref: frontend.Stock}

func TestSolveOpt(t *testing.T) {
	t.Setenv("FROM_ENV", "value")
	t.Setenv("SOURCE_DATE_EPOCH", "")
	for _, tc := range []struct {
		name  string
		r     Request
		attrs map[string]string
	}{
		{"nothing", Request{}, map[string]string{}},
		{"arguments", Request{BuildArgs: []string{"A=1", "A=2", "B=x=y", "FROM_ENV", "NOT_IN_ENV", "EMPTY="}, Labels: []string{"l=v", "bare"}, Target: "t"},
			map[string]string{"build-arg:A": "2", "build-arg:B": "x=y", "build-arg:FROM_ENV": "value", "build-arg:EMPTY": "", "label:l": "v", "label:bare": "", "target": "t"}},
		{"platforms", Request{Platforms: []string{"linux/amd64,linux/arm64/v8", "linux/amd64"}}, map[string]string{"platform": "linux/amd64,linux/arm64"}},
		{"no cache", Request{NoCache: true, Pull: true}, map[string]string{"no-cache": "", "image-resolve-mode": "pull"}},
		{"no cache for stages", Request{NoCacheFilter: []string{"a", "b"}}, map[string]string{"no-cache": "a,b"}},
		{"attestations", Request{Attest: []string{"type=sbom,generator=example.com/x", AttestSpec("provenance", "mode=max")}},
			map[string]string{"attest:sbom": "type=sbom,generator=example.com/x", "attest:provenance": "type=provenance,mode=max"}},
		{"attestation switched off", Request{Attest: []string{AttestSpec("sbom", "false")}}, map[string]string{}},
		{"attestation switched on", Request{Attest: []string{AttestSpec("sbom", "true")}}, map[string]string{"attest:sbom": "type=sbom"}},
		{"run options", Request{AddHosts: []string{"a:1.2.3.4", "b=[::1]"}, Network: "none", ShmSize: 64 << 20, Ulimits: []string{"nofile=1024:2048"}},
			map[string]string{"add-hosts": "a=1.2.3.4,b=::1", "force-network-mode": "none", "shm-size": "67108864", "ulimit": "nofile=1024:2048"}},
		{"multi platform", Request{BuildArgs: []string{"BUILDKIT_MULTI_PLATFORM=1"}}, map[string]string{"multi-platform": "true", "build-arg:BUILDKIT_MULTI_PLATFORM": "1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			so, err := solveOpt(&tc.r)
			require.NoError(t, err)
			if d := cmp.Diff(tc.attrs, so.FrontendAttrs); d != "" {
				t.Errorf("frontend options (-want +got):\n%s", d)
			}
			require.Equal(t, "gateway.v0", so.Frontend)
		})
	}
}

func TestSolveOptEpochFromEnvironment(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	so, err := solveOpt(&Request{})
	require.NoError(t, err)
	require.Equal(t, "1700000000", so.FrontendAttrs["build-arg:SOURCE_DATE_EPOCH"])
	so, err = solveOpt(&Request{BuildArgs: []string{"SOURCE_DATE_EPOCH=1"}})
	require.NoError(t, err)
	require.Equal(t, "1", so.FrontendAttrs["build-arg:SOURCE_DATE_EPOCH"], "an argument beats the environment")
}

func TestSolveOptCachesAndEntitlements(t *testing.T) {
	so, err := solveOpt(&Request{
		CacheFrom: []string{"example.com/a:cache,example.com/b", "type=local,src=/c"},
		CacheTo:   []string{"type=local,dest=/c,mode=max"},
		BuildArgs: []string{"BUILDKIT_INLINE_CACHE=1"},
		Network:   "host", Allow: []string{"security.insecure"},
	})
	require.NoError(t, err)
	want := []bkclient.CacheOptionsEntry{
		{Type: "registry", Attrs: map[string]string{"ref": "example.com/a:cache"}},
		{Type: "registry", Attrs: map[string]string{"ref": "example.com/b"}},
		{Type: "local", Attrs: map[string]string{"src": "/c"}},
	}
	require.Empty(t, cmp.Diff(want, so.CacheImports))
	want = []bkclient.CacheOptionsEntry{
		{Type: "local", Attrs: map[string]string{"dest": "/c", "mode": "max"}},
		{Type: "inline", Attrs: map[string]string{}},
	}
	require.Empty(t, cmp.Diff(want, so.CacheExports))
	require.Equal(t, []string{"security.insecure", "network.host"}, so.AllowedEntitlements)
}

func TestSolveOptRefuses(t *testing.T) {
	for says, r := range map[string]Request{
		"exclude each other":            {NoCache: true, NoCacheFilter: []string{"a"}},
		"--build-arg =x":                {BuildArgs: []string{"=x"}},
		"--platform linux/":             {Platforms: []string{"linux/"}},
		"--cache-from":                  {CacheFrom: []string{"src=x"}},
		"--cache-to":                    {CacheTo: []string{"type=local,x"}},
		"type is sbom or provenance":    {Attest: []string{"type=other"}},
		"disabled is true or false":     {Attest: []string{"type=sbom,disabled=maybe"}},
		"--network bridge":              {Network: "bridge"},
		"--add-host a:b":                {AddHosts: []string{"a:b"}},
		"--ulimit nofile":               {Ulimits: []string{"nofile"}},
		"--allow everything":            {Allow: []string{"everything"}},
		"--secret":                      {Secrets: []string{"id=x,src=/nowhere/at/all"}},
		"--ssh":                         {SSH: []string{"x=/nowhere/at/all"}},
		"--label =":                     {Labels: []string{"=v"}},
		"unexpected key":                {Secrets: []string{"id=x,what=y"}},
		"--add-host b: want HOST:IP":    {AddHosts: []string{"b"}},
		"invalid value for 'raw': nope": {SSH: []string{"default=/a,raw=nope"}},
	} {
		t.Run(says, func(t *testing.T) {
			_, err := solveOpt(&r)
			var ie *InputError
			require.ErrorAs(t, err, &ie)
			require.ErrorContains(t, err, says)
		})
	}
}

func TestParseAnnotations(t *testing.T) {
	got, err := parseAnnotations([]string{"a=b", "index,manifest:c=d=e", "manifest[linux/arm64]:f=", "manifest-descriptor:g=h"})
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(map[string]string{
		"annotation.a": "b", "annotation-index.c": "d=e", "annotation-manifest.c": "d=e",
		"annotation-manifest[linux/arm64].f": "", "annotation-manifest-descriptor.g": "h",
	}, got))
	for _, bad := range []string{"a", "layer:a=b", "manifest[x y]:a=b", "manifest[/]:a=b"} {
		_, err := parseAnnotations([]string{bad})
		require.Error(t, err, bad)
	}
}

func TestParseCall(t *testing.T) {
	for spec, want := range map[string]*Call{
		"": nil, "build": nil, "check": {Name: "lint"}, "outline,format=json": {Name: "outline", JSON: true},
		"lint,ignorestatus=true,format=text": {Name: "lint", IgnoreStatus: true},
	} {
		got, err := ParseCall(spec)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(want, got), spec)
	}
	for _, bad := range []string{"a,b", "lint,format=xml", "lint,ignorestatus=perhaps", `"x`} {
		_, err := ParseCall(bad)
		require.Error(t, err, bad)
	}
}

func TestInputsRefuse(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.Mkdir(empty, 0o755))
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	dangling := filepath.Join(dir, "dangling")
	require.NoError(t, os.Symlink("nowhere", dangling))
	for _, tc := range []struct {
		name string
		r    Request
		says string
	}{
		{"absent context", Request{Context: filepath.Join(dir, "none")}, "does not exist"},
		{"dangling context", Request{Context: dangling}, "symlink to nowhere"},
		{"file as context", Request{Context: file}, "is not a directory"},
		{"no Dockerfile", Request{Context: empty}, "there is no Dockerfile"},
		{"absent Dockerfile", Request{Context: empty, Dockerfile: filepath.Join(dir, "x")}, "name another with -f"},
		{"dangling Dockerfile", Request{Context: empty, Dockerfile: dangling}, "symlink to nowhere"},
		{"directory as Dockerfile", Request{Context: dir, Dockerfile: empty}, "not a regular file"},
		{"twice stdin", Request{Context: "-", Dockerfile: "-"}, "cannot be both"},
		{"empty stdin", Request{Context: "-", Stdin: strings.NewReader("")}, "is empty"},
		{"two Dockerfiles", Request{Context: "-", Dockerfile: "x", Stdin: strings.NewReader("FROM scratch\n")}, "names another"},
		{"nameless context", Request{Context: empty, Dockerfile: file, Contexts: []string{"x"}}, "want NAME=VALUE"},
		{"absent named context", Request{Context: empty, Dockerfile: file, Contexts: []string{"x=" + dir + "/none"}}, "--build-context x="},
		{"named context is no layout", Request{Context: empty, Dockerfile: file, Contexts: []string{"x=oci-layout://" + dir}}, "not an OCI image layout"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.r.Frontend = stock
			_, err := load(t.Context(), &tc.r, nil)
			var ie *InputError
			require.ErrorAs(t, err, &ie)
			require.ErrorContains(t, err, tc.says)
		})
	}
}

func TestInputs(t *testing.T) {
	dir := t.TempDir()
	ctx := filepath.Join(dir, "ctx")
	other := filepath.Join(dir, "other")
	for _, d := range []string{ctx, other} {
		require.NoError(t, os.Mkdir(d, 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(other, "App.dockerfile"), nil, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(ctx, "dockerfile"), nil, 0o644))
	link := filepath.Join(ctx, "link.dockerfile")
	require.NoError(t, os.Symlink("../other/App.dockerfile", link))
	require.NoError(t, os.Symlink(ctx, filepath.Join(dir, "ctxlink")))
	for _, tc := range []struct {
		name   string
		r      Request
		attrs  map[string]string
		mounts []string
	}{
		{"lower case", Request{Context: ctx}, map[string]string{"filename": "dockerfile"}, []string{"context", "dockerfile"}},
		{"symlink as context", Request{Context: filepath.Join(dir, "ctxlink")}, map[string]string{"filename": "dockerfile"}, []string{"context", "dockerfile"}},
		{"outside the context", Request{Context: ctx, Dockerfile: filepath.Join(other, "App.dockerfile")}, map[string]string{"filename": "App.dockerfile"}, []string{"context", "dockerfile"}},
		{"symlink out of the context", Request{Context: ctx, Dockerfile: link}, map[string]string{"filename": "App.dockerfile"}, []string{"context", "dockerfile"}},
		{"stdin", Request{Context: ctx, Dockerfile: "-", Stdin: strings.NewReader("FROM scratch\n")}, map[string]string{"filename": "Dockerfile", "dockerfilekey": "dockerfile"}, []string{"context", "dockerfile"}},
		{"git", Request{Context: "https://example.com/x.git?ref=v1", Dockerfile: "sub/Dockerfile"},
			map[string]string{"context": "https://example.com/x.git?ref=v1", "filename": "sub/Dockerfile", "frontend.caps": "moby.buildkit.frontend.gitquerystring"}, nil},
		{"named contexts", Request{Context: ctx, Contexts: []string{"base=docker-image://alpine", "src=https://example.com/x.git", "context=" + other}},
			map[string]string{"filename": "dockerfile", "context:base": "docker-image://alpine", "context:src": "https://example.com/x.git",
				"context:context": "local:_context", "sharedkey:localdir:context": sharedKey(other), "frontend.caps": "moby.buildkit.frontend.contexts+forward"},
			[]string{"_context", "context", "dockerfile"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.r.Frontend = stock
			in, err := load(t.Context(), &tc.r, nil)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(tc.attrs, in.attrs))
			require.Len(t, in.mounts, len(tc.mounts))
			for _, m := range tc.mounts {
				require.Contains(t, in.mounts, m)
			}
			require.NoError(t, in.close())
		})
	}
}
