package explain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/catalogue/cataloguetest"
	"github.com/temper-images/temper/client/examine"
	"github.com/temper-images/temper/client/examine/examinetest"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/hardening/spec"
)

var update = flag.Bool("update", false, "rewrite golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "go test ./client/explain -update rewrites %s", file)
}

// hardened is the image of examinetest with a report.
func hardened(t *testing.T, r *spec.Report) *Image {
	t.Helper()
	img, err := examinetest.After()
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "app.oci")
	require.NoError(t, examinetest.Layout(dir, img, nil))
	set, err := subject.Open(t.Context(), dir, subject.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, set.Close()) })
	read, err := examine.Open(t.Context(), set.Images[0], examine.Options{Report: r})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, read.Close()) })
	i, err := New(read)
	require.NoError(t, err)
	return i
}

// questions are one of each kind.
var questions = []string{
	"/usr/bin/server", "server", "/usr/lib/libfoo.so.1.2", "/bin/sh", "/usr/lib/server/two.mod", "/srv/new.html", "/srv/",
	"/etc/server/server.conf", "/etc/passwd", "/home/nonroot", "/usr/bin/chsh", "/usr/share/loop", "/usr/share/loop/x", "/usr/share/dangling",
	"/usr/bin/gpgv", "gpgv", "/bin/apt", "/etc/apt/sources.list", "/usr/share/doc/server/README", "/usr/share/locale/de/LC_MESSAGES/server.mo",
	"/usr/bin/sever", "nothing-like-it", "/srv/*.html", "libfoo.so*", "/", "/usr/lib/[z",
}

func TestGolden(t *testing.T) {
	for _, level := range []spec.Level{spec.LevelExclusive, spec.LevelMinimal} {
		i := hardened(t, examinetest.Report(level))
		asked := questions[:len(questions)-1]
		if level == spec.LevelMinimal {
			asked = append(asked[:len(asked):len(asked)], "/usr/lib/libbar.so.2.7.1", "/usr/include/foo.h")
		}
		answers, err := i.Explain(t.Context(), asked, Options{})
		require.NoError(t, err)
		again, err := i.Explain(t.Context(), asked, Options{})
		require.NoError(t, err)
		require.Equal(t, answers, again)
		var text, document bytes.Buffer
		require.NoError(t, i.Document(answers).WriteText(&text))
		golden(t, string(level)+".txt", text.Bytes())
		require.NoError(t, i.Document(answers).WriteJSON(&document))
		golden(t, string(level)+".json", document.Bytes())
	}
}

func TestTree(t *testing.T) {
	i := hardened(t, examinetest.Report(spec.LevelMinimal))
	answers, err := i.Explain(t.Context(), []string{"/usr/bin/server", "/etc/server/server.conf", "/etc/passwd"}, Options{Tree: true})
	require.NoError(t, err)
	var text bytes.Buffer
	require.NoError(t, i.Document(answers).WriteText(&text))
	golden(t, "tree.txt", text.Bytes())
	// The configuration, two names of the library, a page by its name and one by that
	// of its directory.
	require.Equal(t, 5, answers[0].Tree.Files)

	answers, err = i.Explain(t.Context(), []string{"/usr/bin/server"}, Options{Tree: true, Depth: 1})
	require.NoError(t, err)
	require.Len(t, answers[0].Tree.Children, 2)
	require.Empty(t, answers[0].Tree.Children[0].Children)
	require.Equal(t, 3, answers[0].Tree.Children[0].More)
	require.Equal(t, 5, answers[0].Tree.Files)

	_, err = hardened(t, examinetest.Report(spec.LevelExclusive)).Explain(t.Context(), []string{"/x"}, Options{Tree: true})
	require.ErrorIs(t, err, ErrNoReasons)
}

func TestErrors(t *testing.T) {
	_, err := New(&examine.Image{Image: &subject.Image{Name: "app", Platform: "linux/amd64"}})
	var none *NoReportError
	require.ErrorAs(t, err, &none)
	require.ErrorContains(t, err, "app (linux/amd64) has no hardening report attached")

	i := hardened(t, examinetest.Report(spec.LevelExclusive))
	_, err = i.Explain(t.Context(), []string{"/usr/[z"}, Options{})
	var pattern *PatternError
	require.ErrorAs(t, err, &pattern)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	cancel(stop)
	_, err = i.Explain(ctx, []string{"/usr/*"}, Options{})
	require.ErrorIs(t, err, stop)
	_, err = i.Explain(ctx, []string{"/usr/nothing"}, Options{})
	require.ErrorIs(t, err, stop)
}

// A report is as hostile as an image: chains in circles, reasons that name
// themselves, ten thousand needs, and names that command a terminal.
func TestHostileReport(t *testing.T) {
	r := &spec.Report{Level: spec.LevelMinimal, Reasons: []spec.Reason{
		{Path: "/usr/bin/server", From: "/usr/bin/sh", Why: "a\x1b[2Jb"}, {Path: "/usr/bin/sh", From: "/usr/bin/server", Why: "c"},
		{Path: "/usr/bin/dash", From: "/usr/bin/dash", Why: "d"}, {Path: "", From: "", Why: ""}, {Path: "/", Why: ""},
		{Path: "/srv/", From: "package nowhere"}, {Path: "package dash", From: "package dash"},
	}}
	deep := "/usr/bin/server"
	for k := range 30_000 {
		next := fmt.Sprintf("/x%d", k)
		r.Reasons = append(r.Reasons, spec.Reason{Path: next, From: deep, Needs: []string{"/usr/bin/server", next, "/usr/bin/dash"}})
		deep = next
	}
	i := hardened(t, r)
	answers, err := i.Explain(t.Context(), []string{"/usr/bin/server", "/usr/bin/dash", "/bin/sh", "/srv/index.html", "/"}, Options{Tree: true})
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, i.Document(answers).WriteText(&out))
	require.NotContains(t, out.String(), "\x1b")
	nodes := 0
	var count func([]*Node)
	count = func(list []*Node) {
		for _, n := range list {
			nodes++
			count(n.Children)
		}
	}
	for _, a := range answers {
		require.LessOrEqual(t, len(a.Chain), maxChain+1)
		nodes = 0
		count(a.Tree.Children)
		require.LessOrEqual(t, nodes, maxNodes)
	}
	require.NoError(t, json.Unmarshal(func() []byte {
		out.Reset()
		require.NoError(t, i.Document(answers).WriteJSON(&out))
		return out.Bytes()
	}(), new(any)))
}

// Rules are globs in YAML, and names can look like both.
func TestRuleSpelling(t *testing.T) {
	for name, want := range map[string]string{
		"/usr/bin/gpgv": "/usr/bin/gpgv", "/usr/bin/[": `"/usr/bin/\\["`, "/a b": `"/a b"`, `/a"*`: `"/a\"\\*"`, "/x,y": `"/x,y"`,
	} {
		require.Equal(t, want, quote(literal(name)), name)
	}
}

func TestSimilarNames(t *testing.T) {
	img, err := cataloguetest.Of([]cataloguetest.File{
		{Name: "usr/bin/nginx", Data: "x"}, {Name: "opt/nginx", Data: "x"}, {Name: "usr/bin/nginx-debug", Data: "x"}, {Name: "usr/bin/ng", Data: "x"},
	})
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "app.oci")
	require.NoError(t, examinetest.Layout(dir, img, nil))
	set, err := subject.Open(t.Context(), dir, subject.Options{})
	require.NoError(t, err)
	defer set.Close()
	read, err := examine.Open(t.Context(), set.Images[0], examine.Options{Report: &spec.Report{Level: spec.LevelExclusive}})
	require.NoError(t, err)
	defer read.Close()
	i, err := New(read)
	require.NoError(t, err)
	for path, want := range map[string][]string{
		"/usr/bin/nignx":               {"/usr/bin/nginx", "/opt/nginx"},
		"/usr/sbin/nginx":              {"/opt/nginx", "/usr/bin/nginx", "/usr/bin/nginx-debug"},
		"/x/" + strings.Repeat("n", 9): nil,
		"/" + strings.Repeat("n", 300): nil,
		"/usr/bin/é":                   nil,
	} {
		got, err := i.similar(t.Context(), path)
		require.NoError(t, err)
		require.Equal(t, want, got, path)
	}
}
