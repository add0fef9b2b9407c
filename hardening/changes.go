package hardening

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/temper-images/temper/hardening/rootfs"
	"github.com/temper-images/temper/hardening/spec"
)

// setOwners gives the image's user what it must be able to write.
func (p *plan) setOwners(s spec.Settings) error {
	u := p.account.user
	owned, missing, err := p.inv.writable(s, u)
	if err != nil {
		return err
	}
	for _, i := range owned {
		e := p.inv.entries[i]
		if !p.keeps(i) || e.Kind == rootfs.Symlink {
			continue
		}
		if e.UID == uint32(u.UID) && e.GID == uint32(u.GID) {
			continue
		}
		m := e.Metadata()
		m.UID, m.GID = uint32(u.UID), uint32(u.GID)
		p.copy.Override[e.Path] = m
		p.changes = append(p.changes, spec.Change{
			Path: e.Path, What: spec.ChangeOwner, Before: fmt.Sprintf("%d:%d", e.UID, e.GID), After: fmt.Sprintf("%d:%d", m.UID, m.GID),
		})
	}
	for _, dir := range missing {
		p.copy.Add = append(p.copy.Add, rootfs.NewEntry{
			Path: p.inv.place(dir), Kind: rootfs.Directory, Metadata: rootfs.Metadata{UID: uint32(u.UID), GID: uint32(u.GID), Mode: 0o755},
		})
	}
	return nil
}

// place returns where a path that does not exist would be made: the part of it
// that exists is followed, the rest is appended.
func (inv *inventory) place(p string) string {
	rest := ""
	for dir := p; ; {
		if i, _, ok := inv.find(dir); ok {
			return path.Join(inv.entries[i].Path, rest)
		}
		rest = path.Join(path.Base(dir), rest)
		dir = path.Dir(dir)
	}
}

// clearSetUID takes the set-uid and set-gid bits from files. On a directory
// set-gid means inheritance, which grants nothing.
func (p *plan) clearSetUID(s spec.Settings) error {
	allowed := map[int]bool{}
	for _, rule := range s.SetUID {
		i, _, ok := p.inv.find(path.Clean(rule))
		if !ok {
			return &RuleError{Field: "harden.setuid", Rule: rule, Why: "is not in the runtime stage; mend the path or remove the rule"}
		}
		allowed[i] = true
	}
	for i, e := range p.inv.entries {
		if e.Kind != rootfs.Regular || e.Mode&0o6000 == 0 || allowed[i] || !p.keeps(i) {
			continue
		}
		m, ok := p.copy.Override[e.Path]
		if !ok {
			m = e.Metadata()
		}
		m.Mode &^= 0o6000
		p.copy.Override[e.Path] = m
		p.changes = append(p.changes, spec.Change{
			Path: e.Path, What: spec.ChangeSetUID, Before: fmt.Sprintf("%04o", e.Mode), After: fmt.Sprintf("%04o", m.Mode),
		})
	}
	return nil
}

// addParents makes the directories that added entries lie in, where the copy
// has none.
func (p *plan) addParents() {
	added := map[string]bool{}
	for _, e := range p.copy.Add {
		added[e.Path] = true
	}
	for k := 0; k < len(p.copy.Add); k++ {
		for dir := path.Dir(p.copy.Add[k].Path); dir != "/" && !added[dir]; dir = path.Dir(dir) {
			if i, ok := p.inv.index[dir]; ok {
				delete(p.class, i)
				continue
			}
			added[dir] = true
			p.copy.Add = append(p.copy.Add, rootfs.NewEntry{Path: dir, Kind: rootfs.Directory, Metadata: rootfs.Metadata{Mode: 0o755}})
		}
	}
	for k := range p.copy.Add {
		// A fixed time, since the time of the root directory may be the clock's.
		if p.copy.Add[k].ModTime.IsZero() {
			p.copy.Add[k].ModTime = time.Unix(0, 0)
		}
	}
	slices.SortFunc(p.copy.Add, func(a, b rootfs.NewEntry) int { return strings.Compare(a.Path, b.Path) })
}

// describeContents records the entries whose contents hardening wrote.
func (p *plan) describeContents() {
	for name := range p.copy.Contents {
		p.changes = append(p.changes, spec.Change{Path: name, What: spec.ChangeRewritten})
	}
	for _, e := range p.copy.Add {
		p.changes = append(p.changes, spec.Change{Path: e.Path, What: spec.ChangeCreated})
	}
	slices.SortFunc(p.changes, func(a, b spec.Change) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return strings.Compare(a.What, b.What)
	})
}
