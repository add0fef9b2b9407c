package main

import (
	"errors"
	"os"
	"strings"

	"github.com/temper-images/temper/hardening"
	"github.com/temper-images/temper/hardening/spec"
)

// leaveRefusal writes why the image cannot be hardened as asked into the
// directory --report, where the frontend finds it when the step has failed. It is
// a second way for words that are in the step's log too, so that its own failure
// does not matter.
func leaveRefusal(args []string, err error) {
	dir := ""
	for i, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--report="); ok {
			dir = value
		} else if arg == "--report" && i+1 < len(args) {
			dir = args[i+1]
		}
	}
	if dir == "" {
		return
	}
	refusal := spec.Refusal{Message: err.Error()}
	var (
		rule    *hardening.RuleError
		promise *hardening.BrokenPromiseError
	)
	switch {
	case errors.As(err, &rule):
		refusal.Rules = []spec.Rule{{Field: rule.Field, Value: rule.Rule}}
	case errors.As(err, &promise):
		refusal.Rules = promise.Rules
	}
	dt, err := refusal.Marshal()
	if err != nil {
		return
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return
	}
	defer root.Close()
	_ = root.WriteFile(spec.RefusalFile, dt, 0o444)
}
