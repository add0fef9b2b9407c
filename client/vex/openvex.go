package vex

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	openvex "github.com/openvex/go-vex/pkg/vex"
)

// textOr is a string, or an object that holds more: v0.0.1 of OpenVEX has strings
// where v0.2.0 has objects, and documents mix them.
type textOr[T any] struct {
	text   string
	object T
}

func (v *textOr[T]) UnmarshalJSON(dt []byte) error {
	if len(dt) > 0 && dt[0] == '"' {
		return json.Unmarshal(dt, &v.text)
	}
	return json.Unmarshal(dt, &v.object)
}

// vexDocument is an OpenVEX document, as far as it is used. The library's own
// decoder refuses a version that is a string, as the specification's first example
// has it (openvex/spec, OPENVEX-SPEC.md, "Minimal Document").
type vexDocument struct {
	ID          string     `json:"@id"`
	Author      string     `json:"author"`
	Timestamp   *time.Time `json:"timestamp"`
	LastUpdated *time.Time `json:"last_updated"`
	Statements  []struct {
		ID              string                        `json:"@id"`
		Vulnerability   textOr[openvex.Vulnerability] `json:"vulnerability"`
		Timestamp       *time.Time                    `json:"timestamp"`
		LastUpdated     *time.Time                    `json:"last_updated"`
		Products        []textOr[openvex.Product]     `json:"products"`
		Subcomponents   []string                      `json:"subcomponents"`
		Status          openvex.Status                `json:"status"`
		StatusNotes     string                        `json:"status_notes"`
		Justification   string                        `json:"justification"`
		ImpactStatement string                        `json:"impact_statement"`
		ActionStatement string                        `json:"action_statement"`
	} `json:"statements"`
}

func readOpenVEX(dt []byte) (*Document, error) {
	var doc vexDocument
	if err := json.Unmarshal(dt, &doc); err != nil {
		return nil, fmt.Errorf("decode OpenVEX: %w", err)
	}
	d := &Document{Format: "openvex", ID: doc.ID, Author: doc.Author}
	for i, in := range doc.Statements {
		if !in.Status.Valid() {
			return nil, fmt.Errorf("statement %d has the status %q, which is none of %s", i+1, in.Status, strings.Join(openvex.Statuses(), ", "))
		}
		s := statement{
			id: in.ID, status: string(in.Status), justification: in.Justification,
			notes: firstNonEmpty(in.StatusNotes, in.ImpactStatement, in.ActionStatement),
			// Times cascade from the document (OpenVEX v0.2.0, "Data Inheritance").
			time: firstTime(in.LastUpdated, in.Timestamp, doc.LastUpdated, doc.Timestamp),
		}
		v := in.Vulnerability.object
		s.vulnerabilities = nonEmpty(append([]string{in.Vulnerability.text, string(v.Name), v.ID}, text(v.Aliases)...)...)
		for _, p := range in.Products {
			out := product{names: componentNames(p.text, p.object.Component)}
			for _, sub := range p.object.Subcomponents {
				if names := componentNames("", sub.Component); len(names) > 0 {
					out.parts = append(out.parts, names)
				}
			}
			for _, sub := range nonEmpty(in.Subcomponents...) {
				out.parts = append(out.parts, []string{sub})
			}
			if len(p.object.Subcomponents)+len(in.Subcomponents) > 0 && len(out.parts) == 0 {
				// It speaks of parts and names none: it is about nothing.
				continue
			}
			s.products = append(s.products, out)
		}
		d.statements = append(d.statements, s)
	}
	return d, nil
}

func componentNames(id string, c openvex.Component) []string {
	names := []string{id, c.ID}
	for _, kind := range slices.Sorted(maps.Keys(c.Identifiers)) {
		names = append(names, c.Identifiers[kind])
	}
	for _, algorithm := range slices.Sorted(maps.Keys(c.Hashes)) {
		if algorithm == openvex.SHA256 {
			names = append(names, string(c.Hashes[algorithm]))
		}
	}
	return nonEmpty(names...)
}

func text[S ~string](list []S) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}

func nonEmpty(list ...string) []string {
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}

func firstNonEmpty(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

func firstTime(list ...*time.Time) time.Time {
	for _, t := range list {
		if t != nil && !t.IsZero() {
			return t.UTC()
		}
	}
	return time.Time{}
}
