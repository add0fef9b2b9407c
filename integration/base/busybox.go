package base

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// busyboxFiles are the small files that busybox's own image carries.
var busyboxFiles = []struct{ name, content string }{
	{"etc/group", "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nadm:x:4:\ntty:x:5:\ndisk:x:6:\nmail:x:8:\nwheel:x:10:root\nstaff:x:50:\nusers:x:100:\nnobody:x:65534:\n"},
	{"etc/passwd", "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nbin:x:2:2:bin:/bin:/bin/false\nsys:x:3:3:sys:/dev:/bin/false\nsync:x:4:100:sync:/bin:/bin/sync\nmail:x:8:8:mail:/var/spool/mail:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n"},
	{"etc/shadow", "root:*:10933:0:99999:7:::\n"},
}

// busyboxScripts stand in for two of busybox's programs that Debian's build
// leaves out. They understand the options that Dockerfiles commonly use.
var busyboxScripts = []struct{ name, content string }{
	{"bin/addgroup", `#!/bin/sh
set -e
gid=
while getopts g:S o; do case $o in g) gid=$OPTARG ;; S) ;; *) exit 1 ;; esac; done
shift $((OPTIND - 1))
if [ -z "$gid" ]; then gid=1000; while grep -q "^[^:]*:[^:]*:$gid:" /etc/group; do gid=$((gid + 1)); done; fi
echo "$1:x:$gid:" >>/etc/group
`},
	{"bin/adduser", `#!/bin/sh
set -e
uid= group= home= shell=/bin/sh
while getopts DHSh:s:u:G:g: o; do
	case $o in u) uid=$OPTARG ;; G) group=$OPTARG ;; h) home=$OPTARG ;; s) shell=$OPTARG ;; D | H | S | g) ;; *) exit 1 ;; esac
done
shift $((OPTIND - 1))
if [ -z "$uid" ]; then uid=1000; while grep -q "^[^:]*:[^:]*:$uid:" /etc/passwd; do uid=$((uid + 1)); done; fi
if [ -z "$group" ]; then group=$1; addgroup -g "$uid" "$group"; fi
gid=$(sed -n "s/^$group:[^:]*:\([0-9]*\):.*/\1/p" /etc/group)
echo "$1:x:$uid:$gid:Linux User,,,:${home:=/home/$1}:$shell" >>/etc/passwd
mkdir -p "$home"
chown "$uid:$gid" "$home"
`},
}

// Busybox returns a base like the image busybox: one static program under all
// its names, from Debian's package busybox-static.
func Busybox(ctx context.Context) (Layout, error) {
	a, err := machineApt(ctx)
	if err != nil {
		return Layout{}, err
	}
	dir, err := cached(ctx, "busybox", a.inputs(), func(ctx context.Context, dir string) error {
		layer := filepath.Join(dir, "rootfs.tar")
		defer os.Remove(layer)
		program, applets, err := busyboxProgram(ctx)
		if err != nil {
			return err
		}
		if err := busyboxLayer(layer, program, applets); err != nil {
			return err
		}
		img, err := image(v1.Config{
			Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, Cmd: []string{"sh"},
		}, layer)
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

// busyboxProgram fetches the program with apt and asks it for its names.
func busyboxProgram(ctx context.Context) (program []byte, applets []string, err error) {
	tmp, err := os.MkdirTemp("", "temper-busybox-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(tmp)
	// apt fetches as a user of its own, which must be able to write here.
	if err := os.Chmod(tmp, 0o777); err != nil {
		return nil, nil, err
	}
	if _, err := run(ctx, tmp, nil, "apt-get", "download", "--quiet", "busybox-static"); err != nil {
		return nil, nil, err
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "busybox-static_*.deb"))
	if err != nil || len(debs) != 1 {
		return nil, nil, fmt.Errorf("apt-get download busybox-static: left %d packages: %w", len(debs), errors.ErrUnsupported)
	}
	if _, err := run(ctx, tmp, nil, "dpkg-deb", "--extract", debs[0], "x"); err != nil {
		return nil, nil, err
	}
	file := filepath.Join(tmp, "x", "bin", "busybox")
	if program, err = os.ReadFile(file); err != nil {
		return nil, nil, err
	}
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return nil, nil, fmt.Errorf("busybox-static: %w", err)
	}
	f.Close()
	list, err := exec.CommandContext(ctx, file, "--list").Output()
	if err != nil {
		return nil, nil, fmt.Errorf("busybox --list: %w", err)
	}
	return program, strings.Fields(string(list)), nil
}

// busyboxLayer writes the root filesystem's archive: like the real image, the
// program once and hardlinks to it.
func busyboxLayer(file string, program []byte, applets []string) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	w := tar.NewWriter(out)
	add := func(h *tar.Header, content []byte) {
		h.ModTime, h.Size, h.Format = createdTime(), int64(len(content)), tar.FormatPAX
		if err == nil {
			err = w.WriteHeader(h)
		}
		if err == nil {
			_, err = io.Copy(w, bytes.NewReader(content))
		}
	}
	for _, dir := range []struct {
		name string
		mode int64
	}{
		{"bin/", 0o755}, {"dev/", 0o755}, {"etc/", 0o755}, {"home/", 0o755}, {"lib/", 0o755}, {"root/", 0o700}, {"tmp/", 0o1777},
		{"usr/", 0o755}, {"usr/sbin/", 0o755}, {"usr/bin/", 0o755}, {"var/", 0o755}, {"var/spool/", 0o755}, {"var/spool/mail/", 0o755}, {"var/www/", 0o755},
	} {
		add(&tar.Header{Typeflag: tar.TypeDir, Name: dir.name, Mode: dir.mode}, nil)
	}
	add(&tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755}, program)
	for _, applet := range applets {
		if applet != "busybox" {
			add(&tar.Header{Typeflag: tar.TypeLink, Name: "bin/" + applet, Linkname: "bin/busybox", Mode: 0o755}, nil)
		}
	}
	// Scripts name env by this path.
	add(&tar.Header{Typeflag: tar.TypeSymlink, Name: "usr/bin/env", Linkname: "../../bin/env", Mode: 0o777}, nil)
	for _, f := range busyboxFiles {
		add(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644}, []byte(f.content))
	}
	for _, f := range busyboxScripts {
		add(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o755}, []byte(f.content))
	}
	if err != nil {
		return fmt.Errorf("write busybox root filesystem: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("write busybox root filesystem: %w", err)
	}
	return out.Close()
}
