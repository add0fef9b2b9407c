package verify

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/temper-images/temper/client/ci"
	"github.com/temper-images/temper/client/provenance"
)

// provenance judges the provenance: one that meets all expectations will do.
func (x *examination) provenance() (string, error) {
	var wrong error
	for _, s := range x.said[Provenance] {
		st, err := provenance.Read(s.statement)
		if err != nil {
			wrong = err
			continue
		}
		o := st.Origin()
		level, err := x.Policy.Provenance.judge(o, s.predicateType)
		if err != nil {
			wrong = err
			continue
		}
		x.out.Level = max(x.out.Level, level)
		detail := fmt.Sprintf("SLSA build level %d, built by %s", level, o.BuilderID)
		if o.Repository != "" {
			detail += " from " + o.Repository
			if o.Ref != "" {
				detail += " " + o.Ref
			}
		}
		if o.Commit != "" {
			detail += " at " + o.Commit[:min(12, len(o.Commit))]
		}
		return detail, nil
	}
	return "", wrong
}

// judge compares provenance with what is expected, and says which level of SLSA's
// Build track it reaches. The error says everything that is not as expected.
func (p ProvenancePolicy) judge(o provenance.Origin, predicateType string) (level int, err error) {
	switch {
	case predicateType != provenance.PredicateType:
		return 0, fmt.Errorf("it is of type %s, and %s is read", predicateType, provenance.PredicateType)
	case o.BuildType == provenance.BuildTypeObserved, o.BuilderID == provenance.BuilderUnknown:
		return 0, fmt.Errorf("it is no provenance of a build: somebody looked at the finished image (%s)", o.BuilderID)
	}
	var wrong []string
	differs := func(what, got, want string) {
		if got == "" {
			got = "nothing"
		}
		wrong = append(wrong, fmt.Sprintf("%s is %s, not %s", what, got, want))
	}
	level = reached(o)
	if len(p.Builders) > 0 {
		i := slices.IndexFunc(p.Builders, func(b Builder) bool { return b.ID == o.BuilderID })
		switch {
		case i < 0:
			var ids []string
			for _, b := range p.Builders {
				ids = append(ids, b.ID)
			}
			differs("the builder", o.BuilderID, strings.Join(ids, " or "))
		case p.Builders[i].Level > 0:
			level = p.Builders[i].Level
		}
	}
	if p.Source+p.Ref+p.Commit+p.Workflow != "" && !o.Known {
		return 0, fmt.Errorf("what it says of the source cannot be compared: its build type %s is not known", o.BuildType)
	}
	if want := ci.RepositoryURL(p.Source); p.Source != "" && !strings.EqualFold(want, o.Repository) {
		differs("the source", o.Repository, want)
	}
	if p.Ref != "" && p.Ref != o.Ref {
		if ok, err := path.Match(p.Ref, o.Ref); err != nil || !ok {
			differs("the ref", o.Ref, p.Ref)
		}
	}
	if p.Commit != "" && p.Commit != o.Commit {
		differs("the commit", o.Commit, p.Commit)
	}
	if p.Workflow != "" && p.Workflow != o.Workflow {
		differs("the workflow", o.Workflow, p.Workflow)
	}
	if p.Source+p.Ref+p.Commit != "" && o.Dirty {
		wrong = append(wrong, "the source had changes that are in no commit")
	}
	if p.Level > level {
		wrong = append(wrong, fmt.Sprintf("SLSA build level %d is reached, not %d", level, p.Level))
	}
	if len(wrong) > 0 {
		return 0, fmt.Errorf("%s", strings.Join(wrong, "; "))
	}
	return level, nil
}

// reached is the level of SLSA's Build track that signed provenance itself shows
// (docs/slsa.md): 1 for saying how the image was built, 2 when the CI platform
// vouches for who built, and that a machine of its own did. Whether builds are
// isolated, which level 3 asks for, no document shows.
func reached(o provenance.Origin) int {
	vouched := slices.Contains(o.Claimed, ci.FactBuilder) && slices.Contains(o.Claimed, ci.FactRunner)
	if o.Hosted && vouched && o.BuilderID != provenance.BuilderLocal {
		return 2
	}
	return 1
}
