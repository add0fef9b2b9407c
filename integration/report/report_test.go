// Package report looks at the HTML report in a real browser.
package report

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/report"
	"github.com/temper-images/temper/client/report/reporttest"
	"github.com/temper-images/temper/integration/tools"
)

// seen is what look.js says of one view of a page.
type seen struct {
	View       string
	Requests   []string
	Console    []string
	Overflow   []string
	Violations []string
	Styled     bool
	Rules      int
}

// The page is good in Chromium without scripts, at the width of a desk and of a
// phone, by day and by night: it asks for nothing, prints nothing on the console,
// fits, is styled under its own security policy, and axe-core has nothing against
// it. TEMPER_PICTURES names a directory that keeps the pages with pictures of them.
func TestInChromium(t *testing.T) {
	platforms := reporttest.Release(t, 0, 0)
	for _, d := range reporttest.Release(t, 0, 0) {
		d.Name = strings.Replace(d.Name, "-amd64", "-arm64", 1)
		d.Data = []byte(strings.ReplaceAll(string(d.Data), "linux/amd64", "linux/arm64"))
		platforms = append(platforms, d)
	}
	for name, docs := range map[string][]artifact.Artifact{
		"release":   reporttest.Release(t, 0, 0),
		"large":     reporttest.Release(t, 2000, 2000),
		"platforms": platforms,
		"bare":      {{Name: "sbom-app-amd64.spdx.json", Data: []byte("{}")}},
		"hostile":   hostile(reporttest.Release(t, 0, 0)),
	} {
		t.Run(name, func(t *testing.T) {
			dir, pictures := t.TempDir(), ""
			if keep := os.Getenv("TEMPER_PICTURES"); keep != "" {
				dir = filepath.Join(keep, name)
				pictures = dir
				require.NoError(t, os.MkdirAll(dir, 0o755))
			}
			r, err := report.Read(docs)
			require.NoError(t, err)
			f, err := os.Create(filepath.Join(dir, "report.html"))
			require.NoError(t, err)
			require.NoError(t, r.Write(f, report.Options{Version: "test"}))
			require.NoError(t, f.Close())
			for _, s := range look(t, f.Name(), pictures) {
				require.Empty(t, s.Requests, s.View)
				require.Empty(t, s.Console, s.View)
				require.Empty(t, s.Overflow, s.View)
				require.Empty(t, s.Violations, s.View)
				require.True(t, s.Styled, s.View)
				require.Greater(t, s.Rules, 20, s.View)
			}
		})
	}
}

// hostile puts markup, and words that do not end, into all that an image's makers
// may name.
func hostile(docs []artifact.Artifact) []artifact.Artifact {
	long := strings.Repeat("endless", 60)
	for i, d := range docs {
		text := string(d.Data)
		for _, name := range []string{"libexpat1", "apt is a package manager", "registry.example.com/team/app:1.4", "/app/settings.py", "answers on 8080"} {
			text = strings.ReplaceAll(text, name, `<script>document.title='owned'</script><img src=x onerror=alert(1)>`+long)
		}
		docs[i].Data = []byte(text)
	}
	return docs
}

func look(t *testing.T, page, pictures string) []seen {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "look.js", filepath.Join(tools.Path("axe"), "node_modules"), page, pictures)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s", stderr.String())
	var views []seen
	require.NoError(t, json.Unmarshal(out, &views))
	require.Len(t, views, 4)
	return views
}
