package frontend

import (
	"bytes"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// hardenedStage is the target that means the final stage, hardened. A Dockerfile
// that has a stage of that name has just that one hardened.
const hardenedStage = "hardened"

// stage is what a request builds.
type stage struct {
	// target is what the Dockerfile is asked for: a stage's name, or "" for the
	// final stage.
	target string
	// harden says whether the stage is hardened.
	harden bool
	// args and stages are the parsed Dockerfile, and index the stage that is built;
	// set when harden is.
	args   []instructions.ArgCommand
	stages []instructions.Stage
	index  int
	escape rune
}

// chooseStage finds the stage that a target means, and whether it is to be
// hardened. For a Dockerfile that cannot be read, or a stage that it has not, it
// answers as if nothing was to be hardened: the conversion reports those errors.
func chooseStage(dt []byte, target string) stage {
	untouched := stage{target: target}
	parsed, err := parser.Parse(bytes.NewReader(dt))
	if err != nil {
		return untouched
	}
	// Comments that address the linter want one; this one says nothing.
	stages, args, err := instructions.Parse(parsed.AST, linter.New(&linter.Config{SkipAll: true}))
	if err != nil || len(stages) == 0 {
		return untouched
	}
	final, named := len(stages)-1, indexOf(stages, hardenedStage)
	index := final
	if target != "" {
		index = indexOf(stages, target)
		if index < 0 && strings.EqualFold(target, hardenedStage) {
			target, index = "", final
		}
	}
	hardened := final
	if named >= 0 {
		hardened = named
	}
	if index != hardened {
		return untouched
	}
	return stage{target: target, harden: true, args: args, stages: stages, index: index, escape: parsed.EscapeToken}
}

// indexOf finds the last stage of a name, as the conversion does, or -1.
func indexOf(stages []instructions.Stage, name string) int {
	for i := len(stages) - 1; i >= 0; i-- {
		if strings.EqualFold(stages[i].Name, name) {
			return i
		}
	}
	return -1
}

// location is the stage's FROM line.
func (s stage) location() []parser.Range { return s.stages[s.index].Location }
