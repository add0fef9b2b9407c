package explain

import (
	"slices"
	"strings"
)

// Bounds on what is shown of a tree: its nodes, and how deep they lie.
const (
	maxNodes = 10_000
	maxDepth = 64
)

// Tree is what a path pulls in.
type Tree struct {
	// Files and Bytes count what it pulls in, directly or not, each file once, and the
	// path itself not.
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
	// Children are what it pulls in directly, sorted by path.
	Children []*Node `json:"children,omitempty"`
	// More is how many are left out because the tree would be too large.
	More int `json:"more,omitempty"`
}

// Node is a path that another one pulls in.
type Node struct {
	Path string `json:"path"`
	// Why completes the sentence "PARENT WHY PATH".
	Why string `json:"why"`
	// Cycle says that the path is also above this node, and Repeated that its
	// children stand at an earlier node.
	Cycle    bool    `json:"cycle,omitempty"`
	Repeated bool    `json:"repeated,omitempty"`
	Children []*Node `json:"children,omitempty"`
	// More is how many children are left out.
	More int `json:"more,omitempty"`
}

// indexPulls turns reasons round.
func (i *Image) indexPulls() {
	for k := range i.Report.Reasons {
		r := &i.Report.Reasons[k]
		i.pulls[r.Path] = append(i.pulls[r.Path], r.Needs...)
		if r.From != "" {
			i.pulls[r.From] = append(i.pulls[r.From], r.Path)
		}
	}
	for p, list := range i.pulls {
		slices.Sort(list)
		// A name that stands in the file itself leads nowhere.
		i.pulls[p] = slices.DeleteFunc(slices.Compact(list), func(c string) bool { return c == p })
	}
}

// planter grows one tree, level by level of recursion, within maxNodes.
type planter struct {
	img   *Image
	depth int
	left  int
	above map[string]bool
	seen  map[string]bool
}

// tree finds what a path pulls in. depth bounds what is shown, not what is counted.
func (i *Image) tree(root string, depth int) *Tree {
	if depth == 0 || depth > maxDepth {
		depth = maxDepth
	}
	p := &planter{img: i, depth: depth, left: maxNodes, above: map[string]bool{root: true}, seen: map[string]bool{root: true}}
	t := &Tree{}
	t.Children, t.More = p.grow(root, 1)
	t.Files, t.Bytes = i.weigh(root)
	return t
}

func (p *planter) grow(of string, level int) (nodes []*Node, more int) {
	children := p.img.pulled(of)
	for k, c := range children {
		if p.left == 0 {
			return nodes, len(children) - k
		}
		p.left--
		n := &Node{Path: c, Why: "also needs"}
		if r := p.img.reasons[c]; r != nil && r.From == of {
			n.Why = r.Why
		}
		nodes = append(nodes, n)
		switch {
		case p.above[c]:
			n.Cycle = true
		case p.seen[c]:
			n.Repeated = len(p.img.pulled(c)) > 0
		case level >= p.depth:
			n.More = len(p.img.pulled(c))
		default:
			p.seen[c], p.above[c] = true, true
			n.Children, n.More = p.grow(c, level+1)
			delete(p.above, c)
		}
	}
	return nodes, more
}

// pulled are what a path pulls in directly. A directory does so as itself and as all
// that is below it.
func (i *Image) pulled(p string) []string {
	direct := i.pulls[p]
	if strings.HasSuffix(p, "/") || strings.HasPrefix(p, packagePrefix) {
		return direct
	}
	whole := i.pulls[p+"/"]
	if len(whole) == 0 {
		return direct
	}
	all := slices.Concat(direct, whole)
	slices.Sort(all)
	return slices.Compact(all)
}

// weigh counts the files that a path pulls in, directly or not.
func (i *Image) weigh(root string) (files int, bytes int64) {
	seen := map[string]bool{root: true}
	counted := map[string]bool{root: true}
	count := func(p string) {
		e, ok := i.Files.Lookup(p)
		if !ok || e.Mode.IsDir() || counted[p] {
			return
		}
		counted[p] = true
		files++
		bytes += e.Size
	}
	var trees []string
	queue := []string{root}
	for len(queue) > 0 {
		p := queue[0]
		queue = queue[1:]
		for _, c := range i.pulled(p) {
			if seen[c] {
				continue
			}
			seen[c] = true
			queue = append(queue, c)
			if strings.HasSuffix(c, "/") {
				trees = append(trees, c)
			} else {
				count(c)
			}
		}
	}
	if len(trees) == 0 {
		return files, bytes
	}
	// What is below a directory counts unless it has a reason of its own.
	slices.Sort(trees)
	for e := range i.Files.Entries() {
		if e.Mode.IsDir() || i.reasons[e.Path] != nil {
			continue
		}
		if _, covered := i.reasonFor(e.Path); covered != "" {
			if _, ok := slices.BinarySearch(trees, covered); ok {
				count(e.Path)
			}
		}
	}
	return files, bytes
}
