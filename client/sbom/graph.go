package sbom

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// numbered are the identifiers that tools-golang counts up in the order in which
// it happens on elements, and that order comes from a map.
var numbered = regexp.MustCompile(`^(SPDXRef:|_:)[A-Za-z]+-[0-9]+$`)

// model begins the identifiers of what SPDX's model itself has, such as the licence
// that stands for none being asserted. A document refers to it only.
const model = "https://spdx.org/rdf/"

// graph is a document of SPDX 3.0 in JSON-LD (SPDX 3.0.1, "Serialization").
type graph struct {
	Context string           `json:"@context"`
	Graph   []map[string]any `json:"@graph"`

	elements map[string]map[string]any
	names    map[string]string
}

// canonicalGraph rewrites a document of SPDX 3.0 so that equal contents give equal
// bytes: counted identifiers become digests of what they identify, equal elements
// become one, lists of elements and the graph are sorted.
func canonicalGraph(out *bytes.Buffer, dt []byte) error {
	g := graph{elements: map[string]map[string]any{}, names: map[string]string{}}
	if err := json.Unmarshal(dt, &g); err != nil {
		return err
	}
	g.Graph = slices.DeleteFunc(g.Graph, func(e map[string]any) bool { return strings.HasPrefix(identifier(e), model) })
	for _, e := range g.Graph {
		if id := identifier(e); id != "" {
			g.elements[id] = e
		}
		if list, ok := e["element"].([]any); ok {
			e["element"] = slices.DeleteFunc(list, func(v any) bool {
				id, ok := v.(string)
				return ok && strings.HasPrefix(id, model)
			})
		}
	}
	for i, e := range g.Graph {
		renamed, err := g.rename(e, nil)
		if err != nil {
			return err
		}
		g.Graph[i] = renamed.(map[string]any)
	}
	slices.SortFunc(g.Graph, func(a, b map[string]any) int {
		return cmp.Or(cmp.Compare(fmt.Sprint(a["type"]), fmt.Sprint(b["type"])), cmp.Compare(identifier(a), identifier(b)))
	})
	// What was told apart by its number only is one element now.
	g.Graph = slices.CompactFunc(g.Graph, func(a, b map[string]any) bool {
		return identifier(a) != "" && identifier(a) == identifier(b)
	})
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return enc.Encode(g)
}

// identifier is the identifier of an element, or empty.
func identifier(e map[string]any) string {
	for _, key := range []string{"spdxId", "@id"} {
		if id, ok := e[key].(string); ok {
			return id
		}
	}
	return ""
}

// rename replaces counted identifiers in a value, which is not changed itself.
// Way are the identifiers of the elements on the way to it.
func (g *graph) rename(v any, way []string) (any, error) {
	switch v := v.(type) {
	case string:
		return g.name(v, way)
	case []any:
		out := make([]any, len(v))
		words := true
		for i := range v {
			var err error
			if out[i], err = g.rename(v[i], way); err != nil {
				return nil, err
			}
			_, word := out[i].(string)
			words = words && word
		}
		if words {
			// No list of names in SPDX 3.0 has an order that means something.
			slices.SortFunc(out, func(a, b any) int { return cmp.Compare(a.(string), b.(string)) })
			out = slices.Compact(out)
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, value := range v {
			var err error
			if out[key], err = g.rename(value, way); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

// name is the identifier that takes the place of a counted one.
func (g *graph) name(id string, way []string) (string, error) {
	match := numbered.FindStringSubmatch(id)
	e, ok := g.elements[id]
	if match == nil || !ok {
		return id, nil
	}
	if name, ok := g.names[id]; ok {
		return name, nil
	}
	if slices.Contains(way, id) {
		return "", fmt.Errorf("elements of the SPDX document identify each other in a circle: %v", append(way, id))
	}
	content := map[string]any{}
	for key, value := range e {
		// What was created when is the same for all, and leads back to the creators.
		if key == "spdxId" || key == "@id" || key == "creationInfo" {
			continue
		}
		var err error
		if content[key], err = g.rename(value, append(way, id)); err != nil {
			return "", err
		}
	}
	dt, err := json.Marshal(content)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(dt)
	name := fmt.Sprintf("%s%v-%s", match[1], e["type"], hex.EncodeToString(sum[:8]))
	g.names[id] = name
	return name, nil
}
