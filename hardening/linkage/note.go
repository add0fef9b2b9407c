package linkage

import (
	"bytes"
	"encoding/json"
	"strings"
)

// A note of dlopen metadata: its type and its owner.
const (
	noteDlopen      = 0x407c0c0a
	noteDlopenOwner = "FDO"
)

// Limits on the notes of one file.
const (
	maxNoteSegments = 16
	maxNotes        = 64 << 10 // bytes of one PT_NOTE segment
	maxDlopen       = 256      // sonames
	maxFeature      = 128      // bytes of a feature's name
)

// dlopenNotes adds the sonames of the dlopen notes in a PT_NOTE segment. Notes
// are advice: what is malformed in them is passed over.
func (m *image) dlopenNotes(o *Object, p segment) error {
	if p.off > uint64(m.size) {
		return nil
	}
	b, err := m.read(p.off, min(p.size, maxNotes, uint64(m.size)-p.off))
	if err != nil {
		return err
	}
	align := uint64(4)
	if p.algn == 8 {
		align = 8
	}
	pad := func(n uint64) uint64 { return (n + align - 1) &^ (align - 1) }
	for len(b) >= 12 {
		namesz, descsz := uint64(m.order.Uint32(b)), uint64(m.order.Uint32(b[4:]))
		typ := m.order.Uint32(b[8:])
		desc := pad(12 + namesz)
		if desc+descsz > uint64(len(b)) {
			return nil
		}
		owner := bytes.TrimRight(b[12:12+namesz], "\x00")
		if typ == noteDlopen && string(owner) == noteDlopenOwner {
			o.addDlopen(bytes.TrimRight(b[desc:desc+descsz], "\x00"))
		}
		b = b[min(pad(desc+descsz), uint64(len(b))):]
	}
	return nil
}

func (o *Object) addDlopen(desc []byte) {
	var entries []struct {
		Soname   []string `json:"soname"`
		Feature  string   `json:"feature"`
		Priority string   `json:"priority"`
	}
	if json.Unmarshal(desc, &entries) != nil {
		return
	}
	count := 0
	for _, n := range o.Dlopen {
		count += len(n.Sonames)
	}
	for _, e := range entries {
		n := DlopenNote{Feature: e.Feature[:min(len(e.Feature), maxFeature)], Priority: Recommended}
		switch e.Priority {
		case "required":
			n.Priority = Required
		case "suggested":
			n.Priority = Suggested
		}
		for _, name := range e.Soname {
			if name == "" || len(name) > maxName || strings.IndexByte(name, 0) >= 0 || count == maxDlopen {
				continue
			}
			count++
			n.Sonames = append(n.Sonames, name)
		}
		if len(n.Sonames) > 0 {
			o.Dlopen = append(o.Dlopen, n)
		}
	}
}
