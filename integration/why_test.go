package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/explain"
	"github.com/temper-images/temper/client/imagediff"
	"github.com/temper-images/temper/hardening/spec"
	"github.com/temper-images/temper/integration/door"
	"github.com/temper-images/temper/integration/tools"
)

// asked runs temper with --json and reads what it prints.
func asked(t *testing.T, out any, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(bounded(t), tools.Path("temper"), append(args, "--json", "--progress", "none")...)
	cmd.Stderr = os.Stderr
	dt, err := cmd.Output()
	require.NoError(t, err, "%s", dt)
	require.NoError(t, json.Unmarshal(dt, out), "%s", dt)
}

// explained asks for many paths, some at a time.
func explained(t *testing.T, layout string, paths []string) map[string]explain.Answer {
	t.Helper()
	found := map[string]explain.Answer{}
	for some := range slices.Chunk(paths, 1500) {
		var doc explain.Document
		asked(t, &doc, append([]string{"why", layout}, some...)...)
		for _, a := range doc.Answers {
			found[a.Asked] = a
		}
	}
	return found
}

// The nginx example at level minimal: for every path that is there, and for every
// one that went, temper why has an answer, and what it says to write into
// temper.yaml keeps what it says that it keeps.
func TestWhy(t *testing.T) {
	from := contexts(t, "debian:bookworm")
	dir := t.TempDir()
	level := func(l spec.Level) map[string]string { return map[string]string{"TEMPER_HARDEN_LEVEL": string(l)} }
	minimal, plain := filepath.Join(dir, "minimal.oci"), filepath.Join(dir, "plain.oci")
	img := build(t, temper(), door.Build{Context: example("nginx"), Contexts: from, Output: minimal, Args: level(spec.LevelMinimal)})
	build(t, temper(), door.Build{Context: example("nginx"), Contexts: from, Output: plain, Args: level(spec.LevelOff)})
	var report spec.Report
	require.NoError(t, img.Predicate(spec.PredicateType, &report))
	files, err := img.Files()
	require.NoError(t, err)

	t.Run("every path that is there", func(t *testing.T) {
		var paths []string
		for p := range files {
			if p != "/" {
				paths = append(paths, p)
			}
		}
		slices.Sort(paths)
		answers := explained(t, minimal, paths)
		for _, p := range paths {
			a, ok := answers[p]
			require.True(t, ok, p)
			require.Equal(t, explain.Kept, a.State, "%s: %+v", p, a)
			if len(a.Chain) == 0 {
				require.NotEmpty(t, a.Statement, p)
				require.True(t, a.Type != "file" || strings.HasPrefix(p, "/var/lib/dpkg/"), "%s has no reason: %s", p, a.Statement)
			}
		}
		t.Logf("%d paths explained", len(paths))
		require.Equal(t, "/usr/sbin/nginx", answers["/usr/sbin/nginx"].Chain[0].Path)
	})
	t.Run("every path that went", func(t *testing.T) {
		var paths []string
		for _, g := range report.Removed {
			for _, p := range g.Paths {
				paths = append(paths, strings.TrimSuffix(p, "/"))
			}
		}
		answers := explained(t, minimal, paths)
		for _, p := range paths {
			a := answers[p]
			if a.State == explain.Kept {
				// A removed link whose directory is a link to one that stayed.
				require.NotEmpty(t, a.Links, p)
				continue
			}
			require.Equal(t, explain.Removed, a.State, p)
			require.NotEmpty(t, a.Rules, p)
		}
	})
	t.Run("links", func(t *testing.T) {
		var doc explain.Document
		asked(t, &doc, "why", minimal, "/lib/x86_64-linux-gnu/libc.so.6", "nginx")
		require.Equal(t, "/usr/lib/x86_64-linux-gnu/libc.so.6", doc.Answers[0].Path)
		require.Equal(t, "/lib", doc.Answers[0].Links[0].Path)
		require.NotEmpty(t, doc.Answers[0].Chain)
		require.Equal(t, "/usr/sbin/nginx", doc.Answers[1].Path)
	})
	t.Run("tree", func(t *testing.T) {
		var doc explain.Document
		asked(t, &doc, "why", minimal, "/usr/sbin/nginx", "--tree")
		tree := doc.Answers[0].Tree
		require.True(t, slices.ContainsFunc(tree.Children, func(n *explain.Node) bool {
			return strings.HasPrefix(path.Base(n.Path), "libssl.so") && n.Why == "links to"
		}), "%+v", tree)
		require.Greater(t, tree.Bytes, files["/usr/lib/x86_64-linux-gnu/libc.so.6"].Size)
	})
	t.Run("the rules keep", func(t *testing.T) { rulesKeep(t, from, minimal, &report) })
	t.Run("the difference", func(t *testing.T) {
		var d imagediff.Diff
		asked(t, &d, "diff", plain, minimal)
		require.Equal(t, report.Before, d.A.Totals)
		require.Equal(t, report.After, d.B.Totals)
		gone := map[string]int{}
		for _, f := range d.Files {
			if f.Change == imagediff.Removed && f.Before.Type != "directory" {
				require.NotNil(t, f.Reason, f.Path)
				gone[f.Reason.Class+" "+f.Reason.Name]++
			}
		}
		for _, g := range report.Removed {
			require.Equal(t, g.Files, gone[g.Class+" "+g.Name], "%s %s", g.Class, g.Name)
		}
		for _, p := range report.Packages {
			i := slices.IndexFunc(d.Packages, func(k imagediff.Package) bool { return k.Name == p.Name && k.Arch == p.Arch })
			require.Equal(t, p.State == spec.PackageRemoved, i >= 0, p.Name)
		}
	})
}

// rulesKeep takes what temper why says of some removed paths into temper.yaml and
// looks whether they are in the image then.
func rulesKeep(t *testing.T, from map[string]string, layout string, report *spec.Report) {
	var program, library, data string
	for _, g := range report.Removed {
		if g.Class != "unreachable" && g.Class != "orphan" {
			continue
		}
		for _, p := range g.Paths {
			switch {
			case program == "" && path.Dir(p) == "/usr/bin":
				program = p
			case library == "" && strings.HasPrefix(path.Base(p), "lib") && strings.Contains(path.Base(p), ".so."):
				library = p
			case data == "" && strings.HasPrefix(p, "/usr/share/") && !strings.HasSuffix(p, "/"):
				data = p
			}
		}
	}
	require.NotEmpty(t, program)
	require.NotEmpty(t, library)
	require.NotEmpty(t, data)
	wanted := []string{program, library, data}
	rules := []string{}
	answers := explained(t, layout, wanted)
	for _, p := range wanted {
		rule, ok := strings.CutPrefix(answers[p].Rules[0].YAML, "keep: [")
		require.True(t, ok, "%s: %+v", p, answers[p].Rules)
		rules = append(rules, strings.TrimSuffix(rule, "]"))
	}
	app := t.TempDir()
	require.NoError(t, os.CopyFS(app, os.DirFS(example("nginx"))))
	yaml := fmt.Sprintf("harden:\n  level: minimal\n  keep: [%s]\n", strings.Join(rules, ", "))
	t.Log(yaml)
	require.NoError(t, os.WriteFile(filepath.Join(app, "temper.yaml"), []byte(yaml), 0o644))
	out := filepath.Join(t.TempDir(), "kept.oci")
	build(t, temper(), door.Build{Context: app, Contexts: from, Output: out})
	for p, a := range explained(t, out, wanted) {
		require.Equal(t, explain.Kept, a.State, p)
	}
}

// The report of an image in a registry is read wherever a release put it.
func TestWhyPublished(t *testing.T) {
	r := newReleases(t, harmless)
	host := r.host(t)
	for name, settings := range map[string]string{
		"in the index": "", "beside the image": "push: {plain: true}\n", "under a tag": "push: {plain: true, formats: [cosign]}\n",
	} {
		t.Run(name, func(t *testing.T) {
			ref := host + "/why-" + strings.ReplaceAll(name, " ", "-") + ":1"
			code, out := r.release(t, trivial(t, settings), "-t", ref)
			require.Zero(t, code, out)
			code, out = r.temper(t, "why", ref, "/usr/bin/true", "apt", "--progress", "none")
			require.Zero(t, code, out)
			require.Contains(t, out, "/usr/bin/true: kept")
			require.Contains(t, out, "/usr/bin/apt: removed")
			saved := filepath.Join(r.dir, path.Base(ref)+".oci.tar")
			code, out = r.temper(t, "save", ref, "-o", saved, "--key", "cosign.pub")
			require.Zero(t, code, out)
			code, out = r.temper(t, "why", saved, "/usr/bin/true", "--progress", "none")
			require.Zero(t, code, out)
			code, out = r.temper(t, "diff", ref, saved, "--exit-code", "--progress", "none")
			require.Zero(t, code, out)
			code, out = r.temper(t, "why", ref, "/usr/bin/treu", "--progress", "none")
			require.Equal(t, 1, code, out)
		})
	}
	code, out := r.temper(t, "why", host+"/nothing:1", "/x", "--progress", "none")
	require.NotZero(t, code, out)
}
