package rootfs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// The classes of what Copy leaves out on its own, in the words of a notice.
const (
	ofSocket    = "sockets, which an image layer cannot hold"
	ofWhiteout  = "character devices 0:0, which overlay filesystems take for deleted files"
	ofOCIWhite  = "entries named \".wh.…\", which image layers take for deleted files"
	ofDropped   = "entries below a directory that is not carried"
	ofAttribute = "extended attributes that the destination does not take"
)

// whiteoutPrefix begins the names that mean a deletion in a layer (OCI image
// specification, layer.md, "Whiteouts").
const whiteoutPrefix = ".wh."

// uncarried returns the class of an entry that a layer cannot carry, or "".
func uncarried(e *Entry) string {
	if class := ownClass(e); class != "" {
		return class
	}
	for dir := e.parent; dir != nil; dir = dir.parent {
		if ownClass(dir) != "" {
			return ofDropped
		}
	}
	return ""
}

// ownClass is uncarried for what e itself is, not where it lies.
func ownClass(e *Entry) string {
	switch {
	case e.Kind == Socket:
		return ofSocket
	case e.Kind == CharDevice && unix.Major(e.Rdev) == 0 && unix.Minor(e.Rdev) == 0:
		return ofWhiteout
	case strings.HasPrefix(e.Name(), whiteoutPrefix):
		return ofOCIWhite
	}
	return ""
}

// shown is how many paths a notice names.
const shown = 5

// notices collects what was left out, by class. It keeps only the first few
// paths of each class, so that a hostile tree cannot fill the report.
type notices struct {
	mu      sync.Mutex
	classes map[string]*notice
}

type notice struct {
	count int
	first []string // sorted
}

func (l *notices) add(class, path string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.classes == nil {
		l.classes = map[string]*notice{}
	}
	n := l.classes[class]
	if n == nil {
		n = &notice{}
		l.classes[class] = n
	}
	n.count++
	i, _ := slices.BinarySearch(n.first, path)
	n.first = slices.Insert(n.first, i, path)
	n.first = n.first[:min(len(n.first), shown)]
}

// lines renders the notices, sorted.
func (l *notices) lines() []string {
	var lines []string
	for _, class := range slices.Sorted(maps.Keys(l.classes)) {
		n := l.classes[class]
		var b strings.Builder
		fmt.Fprintf(&b, "%d not copied: %s:", n.count, class)
		for _, p := range n.first {
			fmt.Fprintf(&b, " %q", p)
		}
		if n.count > len(n.first) {
			b.WriteString(" …")
		}
		lines = append(lines, b.String())
	}
	return lines
}
