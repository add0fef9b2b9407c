package loadcheck

import (
	"encoding/binary"
	"path"
	"slices"
	"strings"

	"github.com/temper-images/temper/hardening/rootfs"
)

// Limits on the loaders' configuration files.
const (
	maxCache     = 8 << 20
	maxConfig    = 1 << 20
	maxConfigs   = 1024 // files that ld.so.conf includes
	maxConfDirs  = 4096
	maxPreloads  = 256
	maxCacheName = 1 << 20 // entries in ld.so.cache
)

// cached is a line of ld.so.cache.
type cached struct {
	flags   uint32
	special bool // for processors with certain capabilities
	path    string
}

func (s *system) readConfiguration() {
	if dt, ok := s.text("/etc/ld.so.cache", maxCache); ok {
		s.cache = readCache(dt)
	}
	s.readConf("/etc/ld.so.conf", map[string]bool{})
	if dt, ok := s.text("/etc/ld.so.preload", maxConfig); ok {
		for line := range strings.Lines(string(dt)) {
			line, _, _ = strings.Cut(line, "#")
			s.preload = preloads(line, s.preload)
		}
	}
}

func preloads(list string, names []string) []string {
	for _, n := range strings.FieldsFunc(list, func(c rune) bool { return strings.ContainsRune(" \t\n:", c) }) {
		if len(names) < maxPreloads {
			names = append(names, n)
		}
	}
	return names
}

// readCache decodes ld.so.cache (glibc, sysdeps/generic/dl-cache.h). The form of
// glibc 2.2 follows the older one in the same file, or stands alone. A file that
// is malformed holds nothing, as for the loader.
func readCache(dt []byte) map[string][]cached {
	const magic, older = "glibc-ld.so.cache1.1", "ld.so-1.7.0"
	start := 0
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if !strings.HasPrefix(string(dt[:min(len(dt), len(older))]), older) || len(dt) < 16 {
			break
		}
		end := 16 + 12*uint64(order.Uint32(dt[12:]))
		end = (end + 7) &^ 7
		if end < uint64(len(dt)) && strings.HasPrefix(string(dt[end:min(uint64(len(dt)), end+64)]), magic) {
			start = int(end)
		}
	}
	dt = dt[start:]
	if len(dt) < 48 || string(dt[:len(magic)]) != magic {
		return nil
	}
	var order binary.ByteOrder = binary.LittleEndian
	// Before glibc 2.33 the byte order was not recorded: a count that cannot be is
	// that of the other one.
	if dt[28]&3 == 3 || dt[28]&3 == 0 && uint64(order.Uint32(dt[20:]))*24 > uint64(len(dt)) {
		order = binary.BigEndian
	}
	count := order.Uint32(dt[20:])
	if uint64(count)*24+48 > uint64(len(dt)) || count > maxCacheName {
		return nil
	}
	// One string for all, so that entries which share their bytes take no more.
	names := string(dt)
	found := map[string][]cached{}
	for i := range count {
		e := dt[48+24*i:]
		key, ok := stringAt(names, order.Uint32(e[4:]))
		value, ok2 := stringAt(names, order.Uint32(e[8:]))
		if !ok || !ok2 {
			return nil
		}
		found[key] = append(found[key], cached{flags: order.Uint32(e), special: order.Uint64(e[16:]) != 0, path: value})
	}
	return found
}

func stringAt(s string, at uint32) (string, bool) {
	if uint64(at) >= uint64(len(s)) {
		return "", false
	}
	s = s[at:]
	end := strings.IndexByte(s[:min(len(s), maxString)], 0)
	if end < 0 {
		return "", false
	}
	return s[:end], true
}

// readConf collects the directories of ld.so.conf and of what it includes.
func (s *system) readConf(name string, seen map[string]bool) {
	e, ok := s.walk(name)
	if !ok || seen[e.Path] || len(seen) == maxConfigs {
		return
	}
	seen[e.Path] = true
	dt, ok := s.text(e.Path, maxConfig)
	if !ok {
		return
	}
	for line := range strings.Lines(string(dt)) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "hwcap" {
			continue
		}
		if words[0] != "include" {
			dir, _, _ := strings.Cut(strings.TrimSpace(line), "=")
			if path.IsAbs(dir) && len(s.conf) < maxConfDirs {
				s.conf = append(s.conf, dir)
			}
			continue
		}
		for _, pattern := range words[1:] {
			if !path.IsAbs(pattern) {
				pattern = path.Join(path.Dir(name), pattern)
			}
			for _, included := range s.glob(pattern) {
				s.readConf(included, seen)
			}
		}
	}
}

// glob returns the paths that match an absolute pattern, in order.
func (s *system) glob(pattern string) []string {
	paths := []string{"/"}
	for part := range strings.SplitSeq(strings.Trim(pattern, "/"), "/") {
		var next []string
		for _, dir := range paths {
			e, ok := s.walk(dir)
			if !ok || e.Kind != rootfs.Directory {
				continue
			}
			for _, child := range s.tree.Children(e.Path) {
				if s.lookups++; s.lookups > s.maxLookups {
					return nil
				}
				hidden := strings.HasPrefix(child.Name(), ".") && !strings.HasPrefix(part, ".")
				if match, err := path.Match(part, child.Name()); err == nil && match && !hidden && len(next) < maxConfigs {
					next = append(next, path.Join(dir, child.Name()))
				}
			}
		}
		paths = next
	}
	slices.Sort(paths)
	return paths
}
