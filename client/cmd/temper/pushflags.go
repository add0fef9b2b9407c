package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/pflag"

	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/publish"
	"github.com/temper-images/temper/client/release"
)

// The forms of a plan.
const (
	planTable = "table"
	planJSON  = "json"
)

// pushFlags say how an image is published; the rest is said in temper.yaml.
type pushFlags struct {
	push release.Push
	plan string
}

func (f *pushFlags) addPush(flags *pflag.FlagSet) {
	flags.BoolVar(&f.push.DryRun, "dry-run", false, "Sign, store and push nothing: print what would be pushed")
	flags.StringVar(&f.plan, "dry-run-output", planTable, "Form of what --dry-run prints: table, json")
	flags.BoolVar(&f.push.MoveTags, "move-tag", false, "Let a tag move that names another image")
	flags.BoolVar(&f.push.Insecure, "allow-insecure-registry", false, "Allow registries over HTTP, and HTTPS with certificates that nobody vouches for")
}

func (f *pushFlags) checkPush(tags []string) error {
	if f.plan != planTable && f.plan != planJSON {
		return &build.InputError{Err: fmt.Errorf("--dry-run-output %s: it is %s or %s", f.plan, planTable, planJSON)}
	}
	if f.push.DryRun && len(tags) == 0 {
		return &build.InputError{Err: errors.New("--dry-run: say with -t where the image would be published")}
	}
	return nil
}

func (f *pushFlags) printPlan(w io.Writer, p *publish.Plan) error {
	if f.plan == planJSON {
		return p.JSON(w)
	}
	return p.Table(w)
}

func summarisePublished(w io.Writer, p *publish.Result) error {
	fmt.Fprintln(w)
	for _, r := range p.Repositories {
		state := fmt.Sprintf("%d signed, %d signed before", r.Signed, r.Reused)
		if r.FellBack != "" {
			state += ", " + string(r.Order) + " since " + r.FellBack
		}
		fmt.Fprintf(w, "published in %s (%s)\n", r.Repository, state)
		for _, t := range r.Tags {
			if _, err := fmt.Fprintf(w, "  %s %s\n", t.Tag, t.Digest); err != nil {
				return err
			}
		}
	}
	return nil
}
