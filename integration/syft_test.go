package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/container"
	"github.com/temper-images/temper/integration/image"
	"github.com/temper-images/temper/integration/tools"
)

// syft lists the Debian packages that Syft's command line finds in an image, as
// "name version", sorted.
func syft(t *testing.T, img *image.Image) []string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	path, err := layout.Write(dir, empty.Index)
	require.NoError(t, err)
	require.NoError(t, path.AppendImage(img))
	cmd := exec.CommandContext(bounded(t), tools.Path("syft"), "scan", "oci-dir:"+dir, "--quiet", "--output", "json")
	cmd.Env = append(os.Environ(), "SYFT_CHECK_FOR_APP_UPDATE=false", "XDG_CACHE_HOME="+t.TempDir())
	out, err := cmd.Output()
	require.NoError(t, err)
	var found struct {
		Artifacts []struct{ Name, Version, Type string }
	}
	require.NoError(t, json.Unmarshal(out, &found))
	var packages []string
	for _, a := range found.Artifacts {
		if a.Type == "deb" {
			packages = append(packages, a.Name+" "+a.Version)
		}
	}
	slices.Sort(packages)
	return packages
}

// requireSyftAgrees checks that Syft finds exactly the packages that have a file
// left in the hardened image, going by the file lists that dpkg kept in the
// runtime stage.
func requireSyftAgrees(t *testing.T, plain, hardened *image.Image) {
	t.Helper()
	before, after := unpack(t, plain), unpack(t, hardened)
	dt, err := os.ReadFile(filepath.Join(before, "var/lib/dpkg/status"))
	require.NoError(t, err)
	var want []string
	for paragraph := range strings.SplitSeq(string(dt), "\n\n") {
		fields := map[string]string{}
		for line := range strings.Lines(paragraph) {
			if key, value, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, " ") {
				fields[key] = strings.TrimSpace(value)
			}
		}
		name := fields["Package"]
		list, err := os.ReadFile(filepath.Join(before, "var/lib/dpkg/info", name+".list"))
		if err != nil {
			list, err = os.ReadFile(filepath.Join(before, "var/lib/dpkg/info", name+":"+fields["Architecture"]+".list"))
		}
		if name != "" && err == nil && hasFile(after, string(list)) {
			want = append(want, name+" "+fields["Version"])
		}
	}
	require.NotEmpty(t, want)
	slices.Sort(want)
	if diff := cmp.Diff(want, syft(t, hardened)); diff != "" {
		t.Errorf("packages with files, packages that Syft finds (-want +got):\n%s", diff)
	}
}

// hasFile says that something of a dpkg file list that is no directory is there.
func hasFile(root, list string) bool {
	for line := range strings.Lines(list) {
		// A directory of the list may be a link to one: /lib is.
		path := filepath.Join(root, strings.TrimSpace(line))
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			continue
		}
		if _, err := os.Lstat(path); err == nil {
			return true
		}
	}
	return false
}

func unpack(t *testing.T, img *image.Image) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "rootfs")
	require.NoError(t, os.Mkdir(root, 0o755))
	require.NoError(t, container.Unpack(t.Context(), img, root))
	return root
}
