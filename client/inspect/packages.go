package inspect

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/anchore/syft/syft/file"
	"github.com/anchore/syft/syft/pkg"

	"github.com/temper-images/temper/client/inspect/licence"
)

// packages judges the licences that the catalogue's packages state.
func (in *inspection) packages() {
	if in.catalogue == nil {
		return
	}
	counts := map[string]int{}
	verdicts := map[string]licence.Verdict{}
	in.licences = &Licences{}
	for _, p := range in.catalogue.Artifacts.Packages.Sorted() {
		in.licences.Packages++
		names := licenceNames(p.Licenses.ToSlice())
		if len(names) == 0 {
			in.licences.Unknown++
			in.add(ruleUnknownLicence, packageSubject(p), "", fmt.Sprintf("the package %s states no licence", shownPackage(p)))
		}
		for _, name := range names {
			counts[name]++
			v, ok := verdicts[name]
			if !ok {
				v = in.lists.Judge(name)
				verdicts[name] = v
			}
			switch v {
			case licence.Denied:
				in.add(ruleDenied, packageSubject(p), name, fmt.Sprintf("the package %s has the licence %s, which is denied", shownPackage(p), show(name)))
			case licence.NotAllowed:
				in.add(ruleNotAllowed, packageSubject(p), name, fmt.Sprintf("the package %s has the licence %s, which is not among those allowed", shownPackage(p), show(name)))
			}
		}
	}
	for name, n := range counts {
		in.licences.Licences = append(in.licences.Licences, Licence{Name: name, SPDX: licence.Known(name), Packages: n})
	}
	slices.SortFunc(in.licences.Licences, func(a, b Licence) int {
		return cmp.Or(cmp.Compare(b.Packages, a.Packages), cmp.Compare(a.Name, b.Name))
	})
	if n := len(in.licences.Licences) - maxLicences; n > 0 {
		in.licences.More = n
		in.licences.Licences = in.licences.Licences[:maxLicences]
	}
}

func packageSubject(p pkg.Package) Subject {
	return Subject{Kind: Package, Name: p.Name, Version: p.Version}
}

func shownPackage(p pkg.Package) string {
	return strings.TrimSpace(show(p.Name) + " " + show(p.Version))
}

// licenceNames are the licences of a package, sorted and each once: expressions
// where the catalogue has one, and what the package says otherwise.
func licenceNames(list []pkg.License) []string {
	var names []string
	for _, l := range list {
		name := cmp.Or(l.SPDXExpression, l.Value)
		// Some packages bring a whole text in place of a name.
		if name = strings.TrimSpace(name); name == "" || len(name) > 500 || strings.EqualFold(name, "NOASSERTION") || strings.EqualFold(name, "NONE") {
			continue
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// origins are the files that packages of the distribution brought.
type origins struct {
	// digests are their digests in hexadecimal, by algorithm.
	digests map[string]map[string]bool
	paths   map[string]bool
}

// owned says that a package brought a file of that name.
func (o origins) owned(name string) bool {
	// Packages still say /bin and /lib where distributions have links to /usr.
	return o.paths[name] || o.paths[strings.TrimPrefix(name, "/usr")]
}

// origins reads the package databases of dpkg (MD5), apk (SHA-1) and rpm (mostly
// SHA-256) out of the catalogue.
func (in *inspection) origins() origins {
	out := origins{map[string]map[string]bool{}, map[string]bool{}}
	if in.catalogue == nil {
		return out
	}
	add := func(name string, d file.Digest) {
		out.paths[name] = true
		algorithm, value := d.Algorithm, strings.ToLower(d.Value)
		if algorithm == "'Q1'+base64(sha1)" {
			sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(d.Value, "Q1"))
			if err != nil {
				return
			}
			algorithm, value = "sha1", hex.EncodeToString(sum)
		}
		if hashes[algorithm] == nil {
			return
		}
		if out.digests[algorithm] == nil {
			out.digests[algorithm] = map[string]bool{}
		}
		out.digests[algorithm][value] = true
	}
	for _, p := range in.catalogue.Artifacts.Packages.Sorted(pkg.DebPkg, pkg.ApkPkg, pkg.RpmPkg) {
		switch m := p.Metadata.(type) {
		case pkg.DpkgDBEntry:
			for _, f := range m.Files {
				if f.Digest != nil {
					add(f.Path, *f.Digest)
				}
			}
		case pkg.ApkDBEntry:
			for _, f := range m.Files {
				if f.Digest != nil {
					add(f.Path, *f.Digest)
				}
			}
		case pkg.RpmDBEntry:
			for _, f := range m.Files {
				add(f.Path, f.Digest)
			}
		}
	}
	return out
}
