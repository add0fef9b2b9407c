package base

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const debianPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// slimmed are the directories that the "slim" images of Debian leave out, and
// keep dpkg from filling again.
var slimmed = []string{
	"usr/share/doc/", "usr/share/info/", "usr/share/linda/", "usr/share/lintian/", "usr/share/locale/", "usr/share/man/",
}

// imageFiles are what Debian's images have beyond a plain installation: apt
// leaves no caches behind.
var imageFiles = []struct{ name, content string }{
	{"./etc/apt/apt.conf.d/docker-clean", `DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true"; };
APT::Update::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
`},
	{"./etc/apt/apt.conf.d/docker-gzip-indexes", "Acquire::GzipIndexes \"true\";\n"},
	{"./etc/apt/apt.conf.d/docker-no-languages", "Acquire::Languages \"none\";\n"},
	{"./etc/apt/apt.conf.d/docker-autoremove-suggests", "Apt::AutoRemove::SuggestsImportant \"false\";\n"},
}

func createdTime() time.Time { return time.Unix(created, 0).UTC() }

// Debian returns a base like the image debian:CODENAME of the machine's own
// release, with its security updates: dpkg's essential packages and apt.
func Debian(ctx context.Context) (Layout, error) { return debian(ctx, "debian", false) }

// DebianSlim returns a base like debian:CODENAME-slim: Debian without
// documentation, manual pages and translations.
func DebianSlim(ctx context.Context) (Layout, error) { return debian(ctx, "debian-slim", true) }

func debian(ctx context.Context, name string, slim bool) (Layout, error) {
	a, err := machineApt(ctx)
	if err != nil {
		return Layout{}, err
	}
	rootfs, err := debianRootfs(ctx, a)
	if err != nil {
		return Layout{}, err
	}
	dir, err := cached(ctx, name, a.inputs(), func(_ context.Context, dir string) error {
		layer := filepath.Join(dir, "rootfs.tar")
		defer os.Remove(layer)
		if err := filterRootfs(filepath.Join(rootfs, "rootfs.tar"), layer, slim); err != nil {
			return err
		}
		img, err := image(v1.Config{Env: []string{debianPath}, Cmd: []string{"bash"}}, layer)
		if err != nil {
			return err
		}
		return write(dir, img)
	})
	if err != nil {
		return Layout{}, err
	}
	return open(dir)
}

// debianRootfs returns a directory with the file rootfs.tar.
func debianRootfs(ctx context.Context, a *apt) (string, error) {
	return cached(ctx, "rootfs", a.inputs(), func(ctx context.Context, dir string) error {
		conf, err := os.MkdirTemp("", "temper-apt-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(conf)
		sources, err := a.write(conf)
		if err != nil {
			return err
		}
		// As in Debian's own images, /bin and its like are links from the start.
		// Without that, packages of perl are installed only to make them so.
		args := []string{"--quiet", "--variant=minbase", "--mode=root", "--include=usr-is-merged", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"}
		for _, opt := range a.options {
			args = append(args, "--aptopt="+opt)
		}
		if a.https() {
			args = append(args, "--include=ca-certificates")
		}
		args = append(args, a.codename, filepath.Join(dir, "rootfs.tar"))
		args = append(args, sources...)
		env := []string{"SOURCE_DATE_EPOCH=" + strconv.Itoa(created)}
		_, err = run(ctx, conf, env, "mmdebstrap", args...)
		return err
	})
}

// filterRootfs copies a root filesystem's archive without what belongs to the
// machine that made it, with what Debian's images add and, if slim, without the
// slimmed directories' content.
func filterRootfs(from, to string, slim bool) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()

	r, w := tar.NewReader(in), tar.NewWriter(out)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", from, err)
		}
		name := strings.TrimPrefix(h.Name, "./")
		if name == "etc/hostname" || name == "etc/resolv.conf" || strings.HasPrefix(name, "dev/") || slim && slimAway(name) {
			continue
		}
		if err := w.WriteHeader(h); err != nil {
			return fmt.Errorf("write %s: %w", to, err)
		}
		if _, err := io.Copy(w, r); err != nil {
			return fmt.Errorf("write %s: %w", to, err)
		}
	}
	files := imageFiles
	if slim {
		var conf strings.Builder
		for _, dir := range slimmed {
			fmt.Fprintf(&conf, "path-exclude /%s*\n", dir)
		}
		conf.WriteString("path-include /usr/share/doc/*/copyright\n")
		files = append(slices.Clip(files), struct{ name, content string }{"./etc/dpkg/dpkg.cfg.d/docker", conf.String()})
	}
	for _, f := range files {
		err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.content)), ModTime: createdTime(), Format: tar.FormatPAX})
		if err != nil {
			return fmt.Errorf("write %s: %w", to, err)
		}
		if _, err := io.WriteString(w, f.content); err != nil {
			return fmt.Errorf("write %s: %w", to, err)
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write %s: %w", to, err)
	}
	return out.Close()
}

func slimAway(name string) bool {
	for _, dir := range slimmed {
		if rest, ok := strings.CutPrefix(name, dir); ok && rest != "" {
			return !strings.HasPrefix(dir, "usr/share/doc/") || filepath.Base(name) != "copyright" && !strings.HasSuffix(name, "/")
		}
	}
	return false
}
