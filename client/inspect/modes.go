package inspect

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/moby/sys/capability"

	"github.com/temper-images/temper/client/imagefs"
)

// modes judges the files by type, mode and name.
func (in *inspection) modes() {
	for e := range in.fsys.Entries() {
		in.examined.Entries++
		in.mode(e)
		in.byName(e)
	}
}

func (in *inspection) mode(e *imagefs.Entry) {
	s := Subject{Kind: File, Name: e.Path}
	name, perm := show(e.Path), e.Mode.Perm()
	switch {
	case e.Mode&fs.ModeDevice != 0:
		in.add(ruleDevice, s, "", name+" is a device")
	case e.Mode.IsDir():
		if perm&0o002 != 0 && e.Mode&fs.ModeSticky == 0 {
			in.add(ruleWritableDir, s, "", fmt.Sprintf("everybody can write the directory %s (mode %s)", name, octal(e.Mode)))
		}
	case e.Mode.IsRegular():
		if perm&0o002 != 0 {
			in.add(ruleWritable, s, "", fmt.Sprintf("everybody can write %s (mode %s)", name, octal(e.Mode)))
		}
		if e.Mode&fs.ModeSetuid != 0 && perm&0o111 != 0 {
			in.add(ruleSetUID, s, "", fmt.Sprintf("%s runs as user %d, whoever starts it (mode %s)", name, e.UID, octal(e.Mode)))
		}
		if e.Mode&fs.ModeSetgid != 0 && perm&0o010 != 0 {
			in.add(ruleSetGID, s, "", fmt.Sprintf("%s runs with group %d, whoever starts it (mode %s)", name, e.GID, octal(e.Mode)))
		}
		if e.Capabilities != nil {
			in.add(ruleCapability, s, "", fmt.Sprintf("%s has %s", name, capabilities(e.Capabilities)))
		}
	}
}

// octal is a mode as chmod takes it.
func octal(m fs.FileMode) string {
	bits := uint32(m.Perm())
	for bit, is := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&is != 0 {
			bits |= bit
		}
	}
	return fmt.Sprintf("%04o", bits)
}

// The layout of the attribute security.capability (capabilities(7), and struct
// vfs_cap_data of linux/capability.h): a magic number with flags, then permitted
// and inheritable sets, 32 bits at a time, little endian.
const (
	capRevisionMask = 0xff000000
	capRevision1    = 0x01000000
	capEffective    = 0x000001
)

// capabilities names the permitted file capabilities.
func capabilities(attr []byte) string {
	if len(attr) < 8 {
		return "capabilities that cannot be read"
	}
	magic := binary.LittleEndian.Uint32(attr)
	permitted := uint64(binary.LittleEndian.Uint32(attr[4:]))
	if magic&capRevisionMask != capRevision1 && len(attr) >= 16 {
		permitted |= uint64(binary.LittleEndian.Uint32(attr[12:])) << 32
	}
	var names []string
	for i := range capability.Cap(64) {
		if permitted&(1<<i) != 0 {
			names = append(names, "cap_"+i.String())
		}
	}
	if len(names) == 0 {
		return "an empty set of capabilities"
	}
	flags := "=p"
	if magic&capEffective != 0 {
		flags = "=ep"
	}
	return strings.Join(names, ",") + flags
}

// byName finds what a file's name alone tells of.
func (in *inspection) byName(e *imagefs.Entry) {
	s := Subject{Kind: File, Name: e.Path}
	dir, base := path.Split(e.Path)
	switch {
	case base == "HEAD" && e.Mode.IsRegular() && path.Base(dir) == ".git":
		s.Name = path.Clean(dir)
		in.add(ruleGit, s, "", show(s.Name)+" is a Git repository")
	case !e.Mode.IsRegular() || e.Size == 0:
	case base == "authorized_keys" && path.Base(dir) == ".ssh":
		in.add(ruleAuthorized, s, "", show(e.Path)+" lets the holders of keys log in")
	case strings.HasSuffix(base, "_history") && strings.HasPrefix(base, "."):
		in.add(ruleHistory, s, "", show(e.Path)+" holds commands that somebody typed")
	default:
		switch strings.ToLower(path.Ext(base)) {
		case ".p12", ".pfx", ".jks", ".keystore", ".bcfks":
			in.add(ruleKeyStore, s, "", show(e.Path)+" is a key store")
		}
	}
}
