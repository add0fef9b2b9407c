package corpus

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/hardening/spec"
)

// tree makes files below a new directory; a content of "-> target" makes a link,
// "= name" another name of a file.
func tree(t *testing.T, files ...string) string {
	t.Helper()
	root := t.TempDir()
	for n := 0; n < len(files); n += 2 {
		path, content := filepath.Join(root, files[n]), files[n+1]
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			require.NoError(t, os.Symlink(target, path))
		} else if name, ok := strings.CutPrefix(content, "= "); ok {
			require.NoError(t, os.Link(filepath.Join(root, name), path))
		} else {
			require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
		}
	}
	return root
}

func TestTreeSize(t *testing.T) {
	root := tree(t, "a", strings.Repeat("x", block+1), "b", "= a", "c", "-> a", "d/e", "x", "f", "")
	got, err := treeSize(root)
	require.NoError(t, err)
	// The root and d, two blocks of a, one of e.
	require.EqualValues(t, 5*block, got)
	link := tree(t, "long", "-> "+strings.Repeat("y", 100))
	got, err = treeSize(link)
	require.NoError(t, err)
	require.EqualValues(t, 2*block, got)
}

// status is a package database of a few packages, with links as Debian has them.
var status = []string{
	"var/lib/dpkg/status", `Package: app
Status: install ok installed
Version: 1.0-1
Architecture: amd64
Source: source (2:1.0-1)
Pre-Depends: base (>= 1)
Depends: none | virtual, tool:any

Package: base
Status: install ok installed
Version: 1
Architecture: all

Package: provider
Status: install ok installed
Version: 1
Architecture: amd64
Provides: virtual (= 1), more

Package: tool
Status: install ok installed
Version: 1
Architecture: amd64
Description: words
 Depends: stranger

Package: stranger
Status: install ok installed
Version: 1
Architecture: amd64

Package: removed
Status: deinstall ok config-files
Version: 1
Architecture: amd64
`,
	"var/lib/dpkg/info/app.list", "/.\n/usr\n/usr/bin\n/usr/bin/app\n/usr/share/doc\n/usr/share/doc/app\n/usr/share/doc/app/copyright\n",
	"var/lib/dpkg/info/provider:amd64.list", "/lib/libprovider.so\n",
	"var/lib/dpkg/info/stranger.list", "/usr/bin/stranger\n",
	"usr/bin/app", "app", "usr/bin/stranger", "stranger", "usr/share/doc/app/copyright", "words",
	"usr/lib/libprovider.so", strings.Repeat("x", 5000), "lib", "-> usr/lib", "srv/own", "mine",
}

func TestClosure(t *testing.T) {
	root := tree(t, status...)
	db, err := readDpkg(root)
	require.NoError(t, err)
	require.Len(t, db.packages, 5)
	var names []string
	for _, p := range db.closure([]string{"app=1.0-1"}) {
		names = append(names, p.name)
	}
	require.Equal(t, []string{"app", "base", "provider", "tool"}, names)
	// The root, usr and usr/bin, one block of the program, two of the library.
	require.EqualValues(t, 6*block, db.closureSize(root, []string{"app"}))
	require.Zero(t, db.closureSize(root, []string{"removed", "unknown"}))
	source, version := db.packages[0].sourcePackage()
	require.Equal(t, "source 2:1.0-1", source+" "+version)

	require.True(t, db.byName["stranger"][0].anyFile(root))
	require.NoError(t, os.Remove(filepath.Join(root, "usr/bin/stranger")))
	require.False(t, db.byName["stranger"][0].anyFile(root))

	require.NoError(t, os.RemoveAll(filepath.Join(root, "var")))
	own, err := db.unowned(root)
	require.NoError(t, err)
	// usr/lib and usr/share, srv and the file in it: no list has them.
	require.EqualValues(t, 4*block, own)
}

func TestNoPackages(t *testing.T) {
	db, err := readDpkg(t.TempDir())
	require.NoError(t, err)
	require.Empty(t, db.packages)
}

func TestHardeningTime(t *testing.T) {
	log := "#7 [harden 1/1] decide\n#7 0.1 words\n#8 [2/3] RUN x\n#8 DONE 3.0s\n#7 DONE 1.5s\n"
	require.Equal(t, "1.5s", hardeningTime(log).String())
}

func TestTableSaysWhetherTheGoalsAreMet(t *testing.T) {
	row := func(name string, runtime, minimal, closure int64) Row {
		return Row{App: name, Closure: closure << 20, Levels: map[spec.Level]*Measure{
			spec.LevelOff: {Bytes: runtime << 20}, spec.LevelMinimal: {Bytes: minimal << 20},
		}}
	}
	var b strings.Builder
	ok, err := Table(&b, []Row{row("one", 100, 10, 20), row("two", 100, 19, 20), row("three", 100, 50, 60)})
	require.NoError(t, err)
	require.True(t, ok)
	require.Contains(t, b.String(), "the median is 19.0 % of the runtime stage (goal: at most 20.0 %): met")
	require.Contains(t, b.String(), "79.0 % of the package closures (goal: at most 80.0 %): met")

	failed := row("four", 100, 90, 10)
	failed.Levels[spec.LevelMinimal].Others = "no answer"
	b.Reset()
	ok, err = Table(&b, []Row{failed, {App: "five", Err: "no base"}})
	require.NoError(t, err)
	require.False(t, ok)
	require.Contains(t, b.String(), "minimal: works 1, others 0, both 0, scanners 0 of 2")
	require.Contains(t, b.String(), "not met")
}
