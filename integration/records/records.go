// Package records checks that the records of a command are as docs/logging.md says.
package records

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/temper-images/temper/client/stage"
)

// always are the fields that any record may have.
var always = []string{"time", "level", "msg", "trace_id", "span_id", stage.FieldEvent, stage.FieldStep, stage.FieldDuration, stage.FieldError, "warning"}

// Check reads what a command with --log-format json wrote to standard error, and
// returns the events that were recorded: "scan.completed". Each record must be of a
// known event and have no facts but those that are documented; a step that started
// must end.
func Check(stderr string) (events []string, err error) {
	var errs []error
	open := map[string]int{}
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "{") {
			continue
		}
		event, err := check(line)
		if err != nil {
			errs = append(errs, fmt.Errorf("%w: %s", err, line))
			continue
		}
		events = append(events, event)
		switch name, what, _ := strings.Cut(event, "."); what {
		case "started":
			open[name]++
		case "completed", "failed":
			open[name]--
		}
	}
	for name, n := range open {
		if n != 0 {
			errs = append(errs, fmt.Errorf("%d more starts than ends of %s", n, name))
		}
	}
	return events, errors.Join(errs...)
}

func check(line string) (string, error) {
	var r map[string]any
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		return "", err
	}
	event, _ := r[stage.FieldEvent].(string)
	name, what, _ := strings.Cut(event, ".")
	e, ok := stage.FindEvent(name)
	if !ok || !slices.Contains([]string{"started", "completed", "failed", "warning"}, what) {
		return "", fmt.Errorf("unknown event %q", event)
	}
	for key, value := range r {
		if slices.Contains(always, key) {
			continue
		}
		i := slices.IndexFunc(e.Facts, func(f stage.Fact) bool { return f.Key == key })
		if i < 0 || what == "started" {
			return "", fmt.Errorf("%s: the fact %s is not documented", event, key)
		}
		if _, number := value.(float64); number != e.Facts[i].Number {
			return "", fmt.Errorf("%s: the fact %s is documented to be a number or not, and it is %T", event, key, value)
		}
	}
	return event, nil
}
