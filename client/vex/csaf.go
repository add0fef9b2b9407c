package vex

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/temper-images/temper/client/finding"
)

// csafDocument is a CSAF document, as far as it is used (CSAF 2.0, section 3.2).
// The library gocsaf v3.5.1 does not decode product groups.
type csafDocument struct {
	Document struct {
		Publisher struct {
			Name string `json:"name"`
		} `json:"publisher"`
		Tracking struct {
			ID                 string    `json:"id"`
			CurrentReleaseDate time.Time `json:"current_release_date"`
		} `json:"tracking"`
	} `json:"document"`
	ProductTree struct {
		Branches         []csafBranch  `json:"branches"`
		FullProductNames []csafProduct `json:"full_product_names"`
		ProductGroups    []struct {
			ID       string   `json:"group_id"`
			Products []string `json:"product_ids"`
		} `json:"product_groups"`
		Relationships []struct {
			Product   csafProduct `json:"full_product_name"`
			Component string      `json:"product_reference"`
			RelatesTo string      `json:"relates_to_product_reference"`
		} `json:"relationships"`
	} `json:"product_tree"`
	Vulnerabilities []csafVulnerability `json:"vulnerabilities"`
}

type csafBranch struct {
	Branches []csafBranch `json:"branches"`
	Product  *csafProduct `json:"product"`
}

type csafProduct struct {
	ID     string `json:"product_id"`
	Helper struct {
		PURL string `json:"purl"`
		// PURLs is of CSAF 2.1.
		PURLs  []string `json:"purls"`
		Hashes []struct {
			FileHashes []struct {
				Algorithm string `json:"algorithm"`
				Value     string `json:"value"`
			} `json:"file_hashes"`
		} `json:"hashes"`
	} `json:"product_identification_helper"`
}

type csafVulnerability struct {
	CVE string `json:"cve"`
	IDs []struct {
		Text string `json:"text"`
	} `json:"ids"`
	Flags []struct {
		Label    string   `json:"label"`
		Groups   []string `json:"group_ids"`
		Products []string `json:"product_ids"`
	} `json:"flags"`
	Threats []struct {
		Category string   `json:"category"`
		Details  string   `json:"details"`
		Groups   []string `json:"group_ids"`
		Products []string `json:"product_ids"`
	} `json:"threats"`
	Status map[string][]string `json:"product_status"`
}

// csafStatuses are the product statuses in the order in which they are read, and
// what they are in OpenVEX (CSAF 2.0, section 3.2.3.9). "recommended" says nothing
// of the vulnerability.
var csafStatuses = []struct{ csaf, status string }{
	{"known_not_affected", finding.NotAffected},
	{"fixed", finding.Fixed},
	{"first_fixed", finding.Fixed},
	{"under_investigation", finding.UnderInvestigation},
	{"known_affected", finding.Affected},
	{"first_affected", finding.Affected},
	{"last_affected", finding.Affected},
}

func readCSAF(dt []byte) (*Document, error) {
	var doc csafDocument
	if err := json.Unmarshal(dt, &doc); err != nil {
		return nil, fmt.Errorf("decode CSAF: %w", err)
	}
	d := &Document{Format: "csaf", ID: doc.Document.Tracking.ID, Author: doc.Document.Publisher.Name}
	products := doc.products()
	groups := map[string][]string{}
	for _, g := range doc.ProductTree.ProductGroups {
		groups[g.ID] = g.Products
	}
	for _, v := range doc.Vulnerabilities {
		names := []string{v.CVE}
		for _, id := range v.IDs {
			names = append(names, id.Text)
		}
		justifications, notes := v.explanations(groups)
		for _, st := range csafStatuses {
			for _, id := range v.Status[st.csaf] {
				p, ok := products[id]
				if !ok {
					continue
				}
				d.statements = append(d.statements, statement{
					vulnerabilities: nonEmpty(names...), products: []product{p}, status: st.status,
					justification: justifications[id], notes: notes[id], time: doc.Document.Tracking.CurrentReleaseDate.UTC(),
				})
			}
		}
	}
	return d, nil
}

// products are the identifiers of all products, by their IDs in the document.
func (doc *csafDocument) products() map[string]product {
	out := map[string]product{}
	add := func(p csafProduct) {
		if p.ID != "" {
			out[p.ID] = product{names: p.names()}
		}
	}
	var walk func(list []csafBranch)
	walk = func(list []csafBranch) {
		for _, b := range list {
			if b.Product != nil {
				add(*b.Product)
			}
			walk(b.Branches)
		}
	}
	walk(doc.ProductTree.Branches)
	for _, p := range doc.ProductTree.FullProductNames {
		add(p)
	}
	// "The component as a part of the product": both must be there. A product that
	// is named by nothing but a CPE, such as a distribution's release, is only the
	// ground of the component, whose version tells the release.
	for _, r := range doc.ProductTree.Relationships {
		component := out[r.Component].names
		if len(component) == 0 {
			continue
		}
		ground := out[r.RelatesTo]
		p := product{names: ground.names, parts: [][]string{component}, platform: len(ground.names) == 0}
		if own := r.Product.names(); len(own) > 0 {
			// The pair has a name of its own.
			p = product{names: own}
		}
		out[r.Product.ID] = p
	}
	return out
}

func (p csafProduct) names() []string {
	names := append([]string{p.Helper.PURL}, p.Helper.PURLs...)
	for _, h := range p.Helper.Hashes {
		for _, f := range h.FileHashes {
			if f.Algorithm == "sha256" {
				names = append(names, f.Value)
			}
		}
	}
	return nonEmpty(names...)
}

// explanations are the machine-readable flags and the impact statements, by product.
func (v *csafVulnerability) explanations(groups map[string][]string) (flags, impacts map[string]string) {
	flags, impacts = map[string]string{}, map[string]string{}
	spread := func(into map[string]string, what string, products, ids []string) {
		for _, id := range products {
			into[id] = what
		}
		for _, g := range ids {
			for _, id := range groups[g] {
				into[id] = what
			}
		}
	}
	for _, f := range v.Flags {
		spread(flags, f.Label, f.Products, f.Groups)
	}
	for _, t := range v.Threats {
		if t.Category == "impact" {
			spread(impacts, t.Details, t.Products, t.Groups)
		}
	}
	return flags, impacts
}
