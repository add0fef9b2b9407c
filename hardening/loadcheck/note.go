package loadcheck

import (
	"encoding/json"
	"slices"
)

// The note of dlopen metadata (UAPI specification "ELF dlopen metadata").
const (
	noteType  = 0x407c0c0a
	noteOwner = "FDO\x00"
	maxNotes  = 64 << 10 // bytes of one segment
)

// dlopenNote is a feature that works when one of the libraries can be loaded.
type dlopenNote struct {
	Soname   []string `json:"soname"`
	Feature  string   `json:"feature"`
	Priority string   `json:"priority"`
}

// readNotes adds what the notes of a segment say about features that are
// required or recommended, which is what a note without priority is. A note that
// is malformed says nothing.
func (o *object) readNotes(m *memory, s segment) {
	b, err := m.at(s.off, min(s.size, maxNotes))
	if err != nil {
		return
	}
	up := func(n uint64) uint64 { return (n + 3) &^ 3 }
	for len(b) >= 12 {
		owner, desc := uint64(m.order.Uint32(b)), uint64(m.order.Uint32(b[4:]))
		start := 12 + up(owner)
		end := start + desc
		if end > uint64(len(b)) {
			return
		}
		if m.order.Uint32(b[8:]) == noteType && string(b[12:12+owner]) == noteOwner {
			text := b[start:end]
			for len(text) > 0 && text[len(text)-1] == 0 {
				text = text[:len(text)-1]
			}
			var notes []dlopenNote
			if json.Unmarshal(text, &notes) == nil {
				o.notes = append(o.notes, slices.DeleteFunc(notes, func(n dlopenNote) bool {
					return n.Priority == "suggested" || len(n.Soname) == 0
				})...)
			}
		}
		b = b[min(up(end), uint64(len(b))):]
	}
}
