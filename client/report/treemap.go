package report

import (
	"cmp"
	"slices"
)

// The size of a treemap in its own units.
const (
	mapWidth  = 960.0
	mapHeight = 320.0
)

// part is something with a size.
type part struct {
	Name, Class, Text string
	Bytes             int64
}

// box is a part's rectangle.
type box struct {
	part
	X, Y, W, H float64
	// Label is the name as far as there is room for it; Text is written below it
	// when Room says so.
	Label string
	Room  bool
}

// Approximate widths of characters, in units, at the sizes that the style has.
const (
	labelChar = 7.6
	labelLine = 18.0
)

// treemap gives each part an area in proportion to its bytes, in rectangles that
// are about square (Bruls, Huizing, van Wijk: Squarified Treemaps, 2000). Parts
// without bytes have no rectangle.
func treemap(parts []part) []box {
	list := slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return p.Bytes <= 0 })
	slices.SortStableFunc(list, func(a, b part) int { return cmp.Compare(b.Bytes, a.Bytes) })
	total := 0.0
	for _, p := range list {
		total += float64(p.Bytes)
	}
	var out []box
	free := box{W: mapWidth, H: mapHeight}
	scale := mapWidth * mapHeight / max(total, 1)
	for len(list) > 0 {
		n := rowLength(list, min(free.W, free.H), scale)
		var row []box
		row, free = layRow(list[:n], free, scale)
		out = append(out, row...)
		list = list[n:]
	}
	for i := range out {
		out[i].label()
	}
	return out
}

// rowLength is how many of the parts make the best row along a side.
func rowLength(list []part, side, scale float64) int {
	n, best := 0, 0.0
	sum := 0.0
	for i, p := range list {
		sum += float64(p.Bytes) * scale
		// The first is the largest, the last the smallest of the row.
		worst := max(
			side*side*float64(list[0].Bytes)*scale/(sum*sum),
			sum*sum/(side*side*float64(p.Bytes)*scale),
		)
		if i > 0 && worst > best {
			break
		}
		n, best = i+1, worst
	}
	return n
}

// layRow cuts a row off the free rectangle, along its shorter side.
func layRow(row []part, free box, scale float64) ([]box, box) {
	sum := 0.0
	for _, p := range row {
		sum += float64(p.Bytes) * scale
	}
	var out []box
	if free.W >= free.H {
		depth := sum / max(free.H, 0.001)
		y := free.Y
		for _, p := range row {
			h := float64(p.Bytes) * scale / max(depth, 0.001)
			out = append(out, box{part: p, X: free.X, Y: y, W: depth, H: h})
			y += h
		}
		free.X, free.W = free.X+depth, max(free.W-depth, 0)
		return out, free
	}
	depth := sum / max(free.W, 0.001)
	x := free.X
	for _, p := range row {
		w := float64(p.Bytes) * scale / max(depth, 0.001)
		out = append(out, box{part: p, X: x, Y: free.Y, W: w, H: depth})
		x += w
	}
	free.Y, free.H = free.Y+depth, max(free.H-depth, 0)
	return out, free
}

// label cuts the name to what fits into the box.
func (b *box) label() {
	fit := int((b.W - 12) / labelChar)
	if fit < 4 || b.H < labelLine+4 {
		return
	}
	b.Label = shorten(b.Name, fit)
	b.Room = b.H >= 2*labelLine+6 && len(b.Text) <= fit
}

// shorten cuts a text to n characters.
func shorten(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:max(n-1, 0)]) + "…"
}
