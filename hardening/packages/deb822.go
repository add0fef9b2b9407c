package packages

import (
	"bytes"
	"strings"
)

// stanza is one paragraph of a deb822 document (deb822(5)) with its bytes.
type stanza struct {
	// raw holds the lines of the paragraph and the empty lines that end it.
	raw []byte
	// fields maps lower-case names to values: the first line trimmed, then the
	// continuation lines as they are. Of repeated fields the first counts.
	fields map[string]string
}

// splitStanzas splits a deb822 document. Lines that are neither a field nor a
// continuation are counted and stay part of raw.
func splitStanzas(dt []byte) (stanzas []stanza, malformed int) {
	for _, raw := range splitParagraphs(dt) {
		fields, bad := stanzaFields(string(raw))
		malformed += bad
		stanzas = append(stanzas, stanza{raw: raw, fields: fields})
	}
	return stanzas, malformed
}

// splitParagraphs splits text at empty lines. Each paragraph has with it the
// empty lines that end it.
func splitParagraphs(dt []byte) [][]byte {
	var paragraphs [][]byte
	for dt = bytes.TrimLeft(dt, "\n"); len(dt) > 0; {
		end := len(dt)
		if i := bytes.Index(dt, []byte("\n\n")); i >= 0 {
			end = len(dt) - len(bytes.TrimLeft(dt[i:], "\n"))
		}
		paragraphs = append(paragraphs, dt[:end])
		dt = dt[end:]
	}
	return paragraphs
}

func stanzaFields(raw string) (fields map[string]string, malformed int) {
	fields = map[string]string{}
	name, skip := "", true
	var value strings.Builder
	flush := func() {
		if !skip {
			fields[name] = value.String()
		}
		value.Reset()
	}
	for line := range strings.Lines(raw) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			break
		}
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			if name == "" {
				malformed++
				continue
			}
			value.WriteByte('\n')
			value.WriteString(line)
			continue
		}
		key, val, ok := strings.Cut(line, ":")
		flush()
		if !ok || key == "" {
			malformed++
			name, skip = "", true
			continue
		}
		name = strings.ToLower(strings.TrimSpace(key))
		if _, skip = fields[name]; skip {
			malformed++
		}
		value.WriteString(strings.TrimSpace(val))
	}
	flush()
	return fields, malformed
}

// relations parses a relationship field (Debian Policy 7.1) into a conjunction
// of alternatives, without versions, architectures and build profiles.
func relations(field string) [][]string {
	var all [][]string
	for group := range strings.SplitSeq(field, ",") {
		var alternatives []string
		for alternative := range strings.SplitSeq(group, "|") {
			name := strings.TrimSpace(alternative)
			if end := strings.IndexAny(name, " \t\n([<:"); end >= 0 {
				name = name[:end]
			}
			if name != "" {
				alternatives = append(alternatives, name)
			}
		}
		if alternatives != nil {
			all = append(all, alternatives)
		}
	}
	return all
}

// dropConffiles returns the stanza without the lines of its Conffiles field
// whose path keep refuses, and without the field when none stays.
func dropConffiles(raw []byte, keep func(path string) bool) []byte {
	var out, field []byte
	inside, lines := false, 0
	flush := func() {
		if lines > 0 {
			out = append(out, field...)
		}
		inside, lines, field = false, 0, nil
	}
	for line := range bytes.Lines(raw) {
		continuation := line[0] == ' ' || line[0] == '\t'
		switch {
		case inside && continuation:
			words := bytes.Fields(line)
			if len(words) > 0 && keep(string(words[0])) {
				field = append(field, line...)
				lines++
			}
			continue
		case inside:
			flush()
		}
		if name, _, ok := bytes.Cut(line, []byte(":")); ok && !continuation && strings.EqualFold(string(name), "Conffiles") {
			inside = true
			field = append(field, line...)
			continue
		}
		out = append(out, line...)
	}
	flush()
	return out
}
