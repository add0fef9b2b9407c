package redact

import (
	"bytes"
	"slices"
	"sort"
	"strings"
)

// matcher finds patterns in text. It is not changed once it was made. Most bytes
// of a text are passed after one look into a bitmap; the patterns that begin
// with the same four bytes are then compared one by one.
type matcher struct {
	sorted  []string
	by      map[uint32][]string // the longest first
	longest int
	pairs   [1 << 16 / 64]uint64 // the first two bytes of all patterns
	firsts  [256]bool
}

func newMatcher(patterns []string) *matcher {
	slices.Sort(patterns)
	m := &matcher{sorted: patterns, by: map[uint32][]string{}}
	for _, p := range patterns {
		m.by[key(p)] = append(m.by[key(p)], p)
		pair := uint16(p[0]) | uint16(p[1])<<8
		m.pairs[pair/64] |= 1 << (pair % 64)
		m.firsts[p[0]] = true
		m.longest = max(m.longest, len(p))
	}
	for _, ps := range m.by {
		slices.SortFunc(ps, func(a, b string) int { return len(b) - len(a) })
	}
	return m
}

// text is what is searched.
type text interface{ string | []byte }

// at is the length of the longest pattern that b begins with, or 0.
func at[T text](m *matcher, b T) int {
	if len(b) < MinLength {
		return 0
	}
	for _, p := range m.by[key(b)] {
		if len(p) <= len(b) && string(b[:len(p)]) == p {
			return len(p)
		}
	}
	return 0
}

// key is the first four bytes.
func key[T text](b T) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

func (m *matcher) pair(a, b byte) bool {
	p := uint16(a) | uint16(b)<<8
	return m.pairs[p/64]&(1<<(p%64)) != 0
}

// occurs says whether any pattern stands in s.
func occurs[T text](m *matcher, s T) bool {
	for i := 0; i+MinLength <= len(s); i++ {
		if m.pair(s[i], s[i+1]) && at(m, s[i:]) > 0 {
			return true
		}
	}
	return false
}

// begun is the first index of b from which the rest of b may grow into a
// pattern, or the length of b.
func (m *matcher) begun(b []byte) int {
	for i := max(0, len(b)-m.longest+1); i < len(b); i++ {
		if !m.firsts[b[i]] || i+1 < len(b) && !m.pair(b[i], b[i+1]) {
			continue
		}
		rest := b[i:]
		n := sort.Search(len(m.sorted), func(k int) bool { return m.sorted[k] >= string(rest) })
		if n < len(m.sorted) && len(m.sorted[n]) > len(rest) && strings.HasPrefix(m.sorted[n], string(rest)) {
			return i
		}
		// A pattern that is exactly the rest sorts first; a longer one comes right after it.
		if n+1 < len(m.sorted) && m.sorted[n] == string(rest) && bytes.HasPrefix([]byte(m.sorted[n+1]), rest) {
			return i
		}
	}
	return len(b)
}

// state is what replace remembers from one part of a text to the next.
type state struct {
	// covered counts the bytes at the beginning of the next part that belong to
	// a pattern whose mark was written.
	covered int
	// marked says that nothing was written after a mark.
	marked bool
}

// replace appends b[:until] to out with every pattern that begins there replaced
// by Mark. Patterns that touch share a mark, also with one of the part before.
func (s *state) replace(m *matcher, out, b []byte, until int) []byte {
	end, last := s.covered, s.covered
	for i := 0; i < until && i+1 < len(b); i++ {
		if !m.pair(b[i], b[i+1]) {
			continue
		}
		n := at(m, b[i:])
		if n == 0 {
			continue
		}
		if !s.marked || i > end {
			out = append(out, b[last:i]...)
			out = append(out, Mark...)
			s.marked = true
		}
		end = max(end, i+n)
		last = end
	}
	s.covered = max(0, end-until)
	if end < until {
		s.marked = false
		out = append(out, b[last:until]...)
	}
	return out
}
