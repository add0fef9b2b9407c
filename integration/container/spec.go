package container

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// capabilities are those that Docker gives a container's root. A process of
// another user has none of them in effect.
var capabilities = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// rights are the capabilities of a process that starts as uid.
func rights(uid int) *specs.LinuxCapabilities {
	caps := &specs.LinuxCapabilities{Bounding: capabilities}
	if uid == 0 {
		caps.Effective, caps.Permitted = capabilities, capabilities
	}
	return caps
}

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// spec is the runtime configuration (OCI runtime-spec, config.md) that a runtime
// such as Docker makes of an image's configuration.
func spec(rootfs, files string, cfg v1.Config, opt Options) (*specs.Spec, error) {
	name := cmp.Or(opt.User, cfg.User)
	who, err := lookupUser(rootfs, name)
	if err != nil {
		return nil, fmt.Errorf("user %q of the image: %w", name, err)
	}
	args := opt.Args
	if args == nil {
		args = slices.Concat(cfg.Entrypoint, cfg.Cmd)
	}
	if len(args) == 0 {
		return nil, fmt.Errorf("the image says no command")
	}
	env := slices.Clone(cfg.Env)
	if !slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "PATH=") }) {
		env = append(env, defaultPath)
	}
	env = append(env, "HOSTNAME=temper", "HOME="+who.Home)
	env = append(env, opt.Env...)

	cwd := cfg.WorkingDir
	if cwd == "" {
		cwd = "/"
	}
	groups := make([]uint32, 0, len(who.Sgids))
	for _, g := range who.Sgids {
		groups = append(groups, uint32(g))
	}
	mounts := slices.Clone(mounts)
	for _, name := range []string{"hosts", "resolv.conf", "hostname"} {
		mounts = append(mounts, specs.Mount{
			Destination: "/etc/" + name, Type: "bind", Source: filepath.Join(files, name), Options: []string{"rbind", "rprivate"},
		})
	}
	for volume := range cfg.Volumes {
		// An anonymous volume starts with the image's content, which is here.
		if err := os.MkdirAll(filepath.Join(rootfs, volume), 0o755); err != nil {
			return nil, fmt.Errorf("volume %s: %w", volume, err)
		}
	}
	for _, m := range opt.Mounts {
		options := []string{"rbind", "rprivate"}
		if !m.Writable {
			options = append(options, "ro")
		}
		mounts = append(mounts, specs.Mount{Destination: m.Target, Type: "bind", Source: m.Source, Options: options})
	}
	network := specs.LinuxNamespace{Type: specs.NetworkNamespace}
	if opt.Network != nil {
		network.Path = opt.Network.path()
	}
	return &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			User:            specs.User{UID: uint32(who.Uid), GID: uint32(who.Gid), AdditionalGids: groups},
			Args:            args,
			Env:             env,
			Cwd:             cwd,
			Capabilities:    rights(who.Uid),
			NoNewPrivileges: true,
		},
		Root:     &specs.Root{Path: rootfs, Readonly: opt.ReadOnly},
		Hostname: "temper",
		Mounts:   mounts,
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.MountNamespace}, network,
			},
			MaskedPaths:   []string{"/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}, nil
}

// mounts are what every runtime gives a container, and a /tmp.
var mounts = []specs.Mount{
	{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
	{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
	{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
	{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
	{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
	{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777"}},
}

// lookupUser finds the user of an image's configuration the way runtimes do, in
// the image's own passwd and group files; numbers need no entry there.
func lookupUser(rootfs, name string) (*user.ExecUser, error) {
	root, err := os.OpenRoot(rootfs)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	who := user.ExecUser{Home: "/"}
	passwd, err := root.Open("etc/passwd")
	if err == nil {
		defer passwd.Close()
	}
	group, err := root.Open("etc/group")
	if err == nil {
		defer group.Close()
	}
	if name == "" {
		name = strconv.Itoa(0)
	}
	// A nil *os.File must not become a non-nil io.Reader.
	switch {
	case passwd != nil && group != nil:
		return user.GetExecUser(name, &who, passwd, group)
	case passwd != nil:
		return user.GetExecUser(name, &who, passwd, nil)
	default:
		return user.GetExecUser(name, &who, nil, nil)
	}
}
