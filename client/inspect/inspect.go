// Package inspect judges an image by what it is: its configuration, the modes of
// its files, secrets in them and in removed files, and the licences of its
// packages. What the packages' versions mean is the vulnerability scan's subject.
package inspect

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/anchore/syft/syft/sbom"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/temper-images/temper/client/imagefs"
	"github.com/temper-images/temper/client/inspect/secrets"
	"github.com/temper-images/temper/client/subject"
)

// Options say how an image is inspected.
type Options struct {
	Policy Policy
	// Now is when exceptions are judged.
	Now time.Time
	// Parallelism is how many files are searched at once; 0 is one for each
	// processor. It changes no result.
	Parallelism int
	// Progress, when set, is told how many bytes of files have been looked at for
	// secrets, and how many there are. It is called by one goroutine at a time.
	Progress func(done, total int)
}

// Warm begins in the background what the first inspection of a process needs.
func Warm() { secrets.Warm() }

// Run inspects an image. fsys is its file system. The catalogue has its packages:
// their licences, and which files are as the distribution made them; without one
// (nil) neither is known, and a policy on licences is an error.
//
// The error is about the inspection itself, or a *PolicyError. Whether the image
// is refused says Document.Err.
func Run(ctx context.Context, img *subject.Image, fsys *imagefs.FS, catalogue *sbom.SBOM, o Options) (*Document, error) {
	j, err := o.Policy.compile(o.Now)
	if err != nil {
		return nil, err
	}
	if catalogue == nil && (len(j.lists.Allow)+len(j.lists.Deny) > 0 || j.asked(ruleUnknownLicence)) {
		return nil, &PolicyError{fmt.Errorf("it has rules on licences, which need a catalogue of the image's packages")}
	}
	cfg, err := img.Image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", img.Name, err)
	}
	finder, err := secrets.New(img.Digest.String())
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", img.Name, err)
	}
	in := &inspection{judge: j, cfg: cfg, fsys: fsys, catalogue: catalogue, finder: finder, options: o}
	if err := in.run(ctx); err != nil {
		return nil, fmt.Errorf("inspect %s: %w", img.Name, err)
	}
	return in.document(Image{Name: img.Name, Reference: img.Reference, Digest: img.Digest.String(), Platform: img.Platform}), nil
}

// inspection is one run. Its steps add findings one after the other.
type inspection struct {
	*judge
	cfg       *v1.ConfigFile
	fsys      *imagefs.FS
	catalogue *sbom.SBOM
	finder    *secrets.Finder
	options   Options

	counts   map[string]int
	excepted map[string]int
	findings []Finding
	examined Examined
	licences *Licences
}

func (in *inspection) run(ctx context.Context) error {
	in.counts, in.excepted = map[string]int{}, map[string]int{}
	in.configuration()
	if err := in.accounts(); err != nil {
		return err
	}
	in.modes()
	if err := in.contents(ctx); err != nil {
		return err
	}
	in.packages()
	return ctx.Err()
}

// add judges a finding and lists it.
func (in *inspection) add(rule string, s Subject, detail, message string) {
	in.put(Finding{Rule: rule, Subject: s, Detail: detail, Message: message})
}

func (in *inspection) put(f Finding) {
	if !in.asked(f.Rule) {
		return
	}
	r, _ := lookup(f.Rule)
	f.Severity, f.Remedy = r.Severity, r.Remedy
	in.decide(&f)
	in.counts[f.Rule]++
	if f.Action == Excepted {
		in.excepted[f.Rule]++
	}
	// What refuses the image is listed before all else; a rule that fills the list
	// leaves room for the others.
	if in.counts[f.Rule] <= maxFindings/10 {
		in.findings = append(in.findings, f)
	}
}

func (in *inspection) document(img Image) *Document {
	d := &Document{
		Schema: PredicateType, Image: img, Date: in.date, Outcome: Passed,
		Findings: in.findings, Exceptions: in.states(), Licences: in.licences, Examined: in.examined,
	}
	for _, r := range Rules() {
		d.Rules = append(d.Rules, RuleState{
			ID: r.ID, Severity: r.Severity, Action: in.actions[r.ID], Title: r.Title,
			Findings: in.counts[r.ID], Excepted: in.excepted[r.ID],
		})
		d.More += in.counts[r.ID]
	}
	sortFindings(d.Findings)
	d.Findings = d.Findings[:min(len(d.Findings), maxFindings)]
	d.More -= len(d.Findings)
	switch {
	case d.Failures() > 0:
		d.Outcome = Refused
	case d.Warnings() > 0:
		d.Outcome = Warned
	}
	if d.Findings == nil {
		d.Findings = []Finding{}
	}
	return d
}

// show is a name from the image as a message has it: on one line, and not longer
// than a line of a report.
func show(name string) string {
	const most = 300
	if len(name) > most {
		name = strings.ToValidUTF8(name[:most], "") + "…"
	}
	if strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		return strconv.QuoteToGraphic(name)
	}
	return name
}
