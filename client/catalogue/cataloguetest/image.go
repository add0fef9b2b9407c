// Package cataloguetest has a small image with packages of several kinds, for tests
// of what is made from catalogues.
package cataloguetest

import (
	"archive/tar"
	"bytes"
	"cmp"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Epoch is when the image was created.
var Epoch = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// File is an entry of a layer. A name that ends with a slash is a directory.
type File struct {
	Name, Data string
	// Symlink and Hardlink make it a link to that.
	Symlink, Hardlink string
	Mode              int64
}

// Packages are the names and versions of what is in the image, sorted.
var Packages = []string{
	"binutils 2.40-2", "left-pad 1.3.0", "libssl3 3.0.15-1~deb12u1", "requests 2.31.0", "zlib1g 1:1.2.13.dfsg-1",
}

const status = `Package: zlib1g
Status: install ok installed
Maintainer: Mark Brown <broonie@debian.org>
Architecture: amd64
Multi-Arch: same
Source: zlib
Version: 1:1.2.13.dfsg-1
Depends: libc6 (>= 2.14)
Description: compression library - runtime
Homepage: http://zlib.net/

Package: libssl3
Status: install ok installed
Maintainer: Debian OpenSSL Team <pkg-openssl-devel@alioth-lists.debian.net>
Architecture: amd64
Multi-Arch: same
Source: openssl
Version: 3.0.15-1~deb12u1
Depends: zlib1g (>= 1:1.1.4)
Description: Secure Sockets Layer toolkit - shared libraries

Package: binutils
Status: install ok installed
Maintainer: Matthias Klose <doko@debian.org>
Architecture: amd64
Version: 2.40-2
Depends: zlib1g
Description: GNU assembler, linker and binary utilities
`

const osRelease = `PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
ID=debian
HOME_URL="https://www.debian.org/"
SUPPORT_URL="https://www.debian.org/support"
BUG_REPORT_URL="https://bugs.debian.org/"
`

const copyright = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 1995-2022 Jean-loup Gailly and Mark Adler
License: Zlib
`

// md5sums is what dpkg keeps of a package's files. Nobody checks the sums.
func md5sums(names ...string) string {
	var out strings.Builder
	for _, name := range names {
		out.WriteString("d41d8cd98f00b204e9800998ecf8427e  " + name + "\n")
	}
	return out.String()
}

// Lower and Upper are the image's layers.
var (
	Lower = []File{
		{Name: "etc/"}, {Name: "usr/lib/"},
		{Name: "etc/os-release", Symlink: "../usr/lib/os-release"},
		{Name: "usr/lib/os-release", Data: osRelease},
		{Name: "lib", Symlink: "usr/lib"},
		{Name: "var/lib/dpkg/status", Data: status},
		{Name: "var/lib/dpkg/info/zlib1g:amd64.list", Data: "/.\n/lib/x86_64-linux-gnu/libz.so.1\n/usr/share/doc/zlib1g/copyright\n"},
		{Name: "var/lib/dpkg/info/zlib1g:amd64.md5sums", Data: md5sums("lib/x86_64-linux-gnu/libz.so.1", "usr/share/doc/zlib1g/copyright")},
		{Name: "usr/lib/x86_64-linux-gnu/libz.so.1", Data: "\x7fELF no more than its name", Mode: 0o755},
		{Name: "usr/share/doc/zlib1g/copyright", Data: copyright},
		{Name: "var/lib/dpkg/info/binutils.list", Data: "/usr/bin/as\n/usr/bin/x86_64-linux-gnu-as\n"},
		{Name: "var/lib/dpkg/info/binutils.md5sums", Data: md5sums("usr/bin/as", "usr/bin/x86_64-linux-gnu-as")},
		{Name: "usr/bin/x86_64-linux-gnu-as", Data: "#!/bin/sh\n", Mode: 0o755},
		{Name: "usr/bin/as", Hardlink: "usr/bin/x86_64-linux-gnu-as", Mode: 0o755},
		{Name: "tmp/gone/package.json", Data: `{"name": "gone", "version": "1.0.0"}`},
	}
	Upper = []File{
		{Name: "tmp/.wh.gone"},
		{Name: "opt/app/node_modules/left-pad/package.json", Data: `{"name": "left-pad", "version": "1.3.0", "license": "WTFPL"}`},
		{Name: "usr/lib/python3/dist-packages/requests-2.31.0.dist-info/METADATA", Data: "Metadata-Version: 2.1\nName: requests\nVersion: 2.31.0\nLicense: Apache 2.0\n"},
		{Name: "usr/lib/python3/dist-packages/requests-2.31.0.dist-info/RECORD", Data: "requests/__init__.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n"},
		{Name: "usr/lib/python3/dist-packages/requests/__init__.py", Data: ""},
	}
)

// Image is the image. It is the same at every call.
func Image() (v1.Image, error) { return Of(Lower, Upper) }

// Of makes an image of layers, the lowest first.
func Of(layers ...[]File) (v1.Image, error) {
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	for _, files := range layers {
		dt, err := pack(files)
		if err != nil {
			return nil, err
		}
		if img, err = mutate.AppendLayers(img, static.NewLayer(dt, types.OCIUncompressedLayer)); err != nil {
			return nil, err
		}
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Created = "linux", "amd64", v1.Time{Time: Epoch}
	cfg.Config.Labels = map[string]string{
		"org.opencontainers.image.source": "https://git.example.com/team/app", "org.opencontainers.image.revision": strings.Repeat("ab", 20),
		"zone": "b", "area": "a",
	}
	img, err = mutate.ConfigFile(img, cfg)
	if err != nil {
		return nil, err
	}
	return mutate.Annotations(img, map[string]string{
		"org.opencontainers.image.base.name":   "docker.io/library/debian:bookworm",
		"org.opencontainers.image.base.digest": "sha256:" + strings.Repeat("cd", 32),
	}).(v1.Image), nil
}

func pack(files []File) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		h := &tar.Header{Name: f.Name, Mode: cmp.Or(f.Mode, 0o644), ModTime: Epoch, Typeflag: tar.TypeReg, Size: int64(len(f.Data))}
		switch {
		case f.Symlink != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.Symlink
		case f.Hardlink != "":
			h.Typeflag, h.Linkname = tar.TypeLink, f.Hardlink
		case strings.HasSuffix(f.Name, "/"):
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if _, err := w.Write([]byte(f.Data)); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), w.Close()
}
