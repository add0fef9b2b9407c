package report

import (
	"cmp"
	"slices"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"
)

// Bounds of what is shown of dependencies.
const (
	maxTree = 600 // nodes of the tree
	maxDeep = 12
	// maxDrawn is how many packages are drawn: more is a thicket.
	maxDrawn = 28
)

// node is a package in the tree of dependencies.
type node struct {
	Name, Version string
	// Again says that what it depends on stands elsewhere in the tree.
	Again    bool
	Children []*node
	// More counts the children that there was no room for.
	More int
}

// Below counts the nodes below.
func (n *node) Below() int {
	sum := 0
	for _, c := range n.Children {
		sum += 1 + c.Below()
	}
	return sum
}

// dependencies is what a CycloneDX document says of what needs what.
type dependencies struct {
	// Packages counts the packages, and Edges what they depend on.
	Packages, Edges int
	// Roots are what nothing depends on.
	Roots []*node
	// More counts the packages that the tree has no room for.
	More    int
	Drawing *drawing
}

// network is a graph of packages by their references.
type network struct {
	names map[string]cyclonedx.Component
	needs map[string][]string
	users map[string]int
	refs  []string
}

func newNetwork(bom *cyclonedx.BOM) *network {
	g := &network{names: map[string]cyclonedx.Component{}, needs: map[string][]string{}, users: map[string]int{}}
	if bom == nil || bom.Components == nil {
		return g
	}
	for _, c := range *bom.Components {
		if c.BOMRef == "" || c.Type == cyclonedx.ComponentTypeFile || c.Type == cyclonedx.ComponentTypeOS {
			continue
		}
		if _, ok := g.names[c.BOMRef]; !ok {
			g.refs = append(g.refs, c.BOMRef)
		}
		g.names[c.BOMRef] = c
	}
	slices.SortFunc(g.refs, func(a, b string) int {
		return cmp.Or(cmp.Compare(g.names[a].Name, g.names[b].Name), cmp.Compare(g.names[a].Version, g.names[b].Version), cmp.Compare(a, b))
	})
	if bom.Dependencies == nil {
		return g
	}
	for _, d := range *bom.Dependencies {
		if _, ok := g.names[d.Ref]; !ok || d.Dependencies == nil {
			continue
		}
		for _, to := range *d.Dependencies {
			if _, ok := g.names[to]; ok && to != d.Ref && !slices.Contains(g.needs[d.Ref], to) {
				g.needs[d.Ref] = append(g.needs[d.Ref], to)
				g.users[to]++
			}
		}
	}
	for ref := range g.needs {
		slices.SortFunc(g.needs[ref], func(a, b string) int {
			return cmp.Or(cmp.Compare(g.names[a].Name, g.names[b].Name), cmp.Compare(a, b))
		})
	}
	return g
}

func dependenciesOf(bom *cyclonedx.BOM) *dependencies {
	g := newNetwork(bom)
	d := &dependencies{Packages: len(g.refs)}
	for _, list := range g.needs {
		d.Edges += len(list)
	}
	if d.Edges == 0 {
		return nil
	}
	d.Drawing = g.draw()
	t := &tree{network: g, seen: map[string]bool{}}
	// First what nothing needs, and then circles that nothing leads into. What has
	// neither dependencies nor users is in the list of packages.
	for _, first := range []bool{true, false} {
		for _, ref := range g.refs {
			if first && (g.users[ref] > 0 || len(g.needs[ref]) == 0) || t.seen[ref] || len(g.needs[ref]) == 0 {
				continue
			}
			if t.count >= maxTree {
				d.More++
				continue
			}
			d.Roots = append(d.Roots, t.grow(ref, 1))
		}
	}
	return d
}

// tree makes a tree out of a network: each package shows what it needs once.
type tree struct {
	*network
	seen  map[string]bool
	count int
}

func (t *tree) grow(ref string, depth int) *node {
	c := t.names[ref]
	n := &node{Name: c.Name, Version: c.Version}
	t.count++
	needs := t.needs[ref]
	if len(needs) == 0 {
		return n
	}
	if t.seen[ref] {
		n.Again = true
		return n
	}
	t.seen[ref] = true
	for i, to := range needs {
		if t.count >= maxTree || depth >= maxDeep {
			n.More = len(needs) - i
			break
		}
		n.Children = append(n.Children, t.grow(to, depth+1))
	}
	return n
}

// drawing is a picture of a small graph: packages in columns, each to the right of
// what needs it.
type drawing struct {
	Width, Height float64
	Nodes         []drawn
	Edges         []edge
}

type drawn struct {
	X, Y, W float64
	Label   string
}

type edge struct{ X1, Y1, X2, Y2, C1, C2 float64 }

// The measures of a drawing, in units.
const (
	nodeHeight = 26.0
	rowHeight  = 38.0
	columnGap  = 56.0
)

// draw draws the packages that need or are needed, when they are few.
func (g *network) draw() *drawing {
	var refs []string
	for _, ref := range g.refs {
		if g.users[ref] > 0 || len(g.needs[ref]) > 0 {
			refs = append(refs, ref)
		}
	}
	if len(refs) == 0 || len(refs) > maxDrawn {
		return nil
	}
	d := &drawing{}
	at := map[string]drawn{}
	x := 1.0
	for _, members := range g.columns(refs) {
		g.untangle(members, at)
		width := 0.0
		for _, ref := range members {
			width = max(width, labelChar*float64(len([]rune(g.label(ref))))+18)
		}
		for i, ref := range members {
			n := drawn{X: x, Y: 1 + float64(i)*rowHeight, W: width, Label: g.label(ref)}
			at[ref] = n
			d.Nodes = append(d.Nodes, n)
		}
		d.Height = max(d.Height, float64(len(members)-1)*rowHeight+nodeHeight+2)
		d.Width = x + width + 1
		x += width + columnGap
	}
	for _, ref := range refs {
		for _, to := range g.needs[ref] {
			a, b := at[ref], at[to]
			e := edge{X1: a.X + a.W, Y1: a.Y + nodeHeight/2, X2: b.X, Y2: b.Y + nodeHeight/2}
			if b.X <= a.X {
				// A circle leads back.
				e.X1, e.X2 = a.X, b.X+b.W
			}
			e.C1, e.C2 = e.X1+(e.X2-e.X1)/2, e.X1+(e.X2-e.X1)/2
			d.Edges = append(d.Edges, e)
		}
	}
	return d
}

func (g *network) label(ref string) string {
	return shorten(strings.TrimSpace(g.names[ref].Name), 24)
}

// untangle orders a column by where those are who need its members, so that lines
// cross less.
func (g *network) untangle(members []string, at map[string]drawn) {
	middle := map[string]float64{}
	for _, ref := range members {
		sum, n := 0.0, 0
		for user, d := range at {
			if slices.Contains(g.needs[user], ref) {
				sum += d.Y
				n++
			}
		}
		middle[ref] = sum / float64(max(n, 1))
	}
	slices.SortStableFunc(members, func(a, b string) int { return cmp.Compare(middle[a], middle[b]) })
}

// columns puts each package to the right of all that need it. Where they need each
// other in a circle, what closes the circle does not count.
func (g *network) columns(refs []string) [][]string {
	var order []string // what needs comes after what it needs
	state := map[string]int{}
	back := map[[2]string]bool{}
	var visit func(ref string)
	visit = func(ref string) {
		state[ref] = 1
		for _, to := range g.needs[ref] {
			switch state[to] {
			case 0:
				visit(to)
			case 1:
				back[[2]string{ref, to}] = true
			}
		}
		state[ref] = 2
		order = append(order, ref)
	}
	for _, first := range []bool{true, false} {
		for _, ref := range refs {
			if state[ref] == 0 && (!first || g.users[ref] == 0) {
				visit(ref)
			}
		}
	}
	column := map[string]int{}
	most := 0
	for _, ref := range slices.Backward(order) {
		most = max(most, column[ref])
		for _, to := range g.needs[ref] {
			if !back[[2]string{ref, to}] {
				column[to] = max(column[to], column[ref]+1)
			}
		}
	}
	out := make([][]string, most+1)
	for _, ref := range refs {
		out[column[ref]] = append(out[column[ref]], ref)
	}
	return out
}
