// Package installs finds the packages that a Dockerfile installs by name. It
// reads RUN instructions as shell text and understands the package managers'
// command lines; it runs nothing. What it cannot know (the output of a command,
// a script in the context) it leaves out.
package installs

import (
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// Dockerfile is a parsed Dockerfile and the arguments of a build.
type Dockerfile struct {
	// Args are the ARG instructions before the first stage.
	Args   []instructions.ArgCommand
	Stages []instructions.Stage
	// Escape is the Dockerfile's escape character.
	Escape rune
	// BuildArgs are the values given for ARG instructions.
	BuildArgs map[string]string
}

// Packages returns the names, sorted, of the packages that a stage and the
// stages it is built FROM install. Stages that it only copies from do not count.
func Packages(d Dockerfile, stage int) []string {
	global := newScope(d)
	for _, arg := range d.Args {
		global.arg(arg, nil)
	}
	found := map[string]bool{}
	sc := newScope(d)
	for _, i := range d.chain(stage, global) {
		for _, cmd := range d.Stages[i].Commands {
			switch cmd := cmd.(type) {
			case *instructions.ArgCommand:
				sc.arg(*cmd, global.vars)
			case *instructions.EnvCommand:
				sc.env(cmd.Env)
			case *instructions.RunCommand:
				for _, name := range run(cmd, sc.vars) {
					found[name] = true
				}
			}
		}
	}
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// chain lists a stage and those it is built FROM, the first of them first.
func (d Dockerfile) chain(stage int, global *scope) []int {
	var out []int
	for stage >= 0 && stage < len(d.Stages) {
		out = append(out, stage)
		base := global.expand(d.Stages[stage].BaseName)
		// A stage can only be built from one before it.
		for stage--; stage >= 0 && !strings.EqualFold(d.Stages[stage].Name, base); stage-- {
		}
	}
	slices.Reverse(out)
	return out
}

// maxValue bounds a variable's value, in bytes: values can double with every
// line. A longer one counts as unknown.
const maxValue = 64 << 10

// scope holds the variables of a stage whose values are known.
type scope struct {
	vars      map[string]string
	lex       *shell.Lex
	buildArgs map[string]string
}

func newScope(d Dockerfile) *scope {
	return &scope{vars: map[string]string{}, lex: shell.NewLex(d.Escape), buildArgs: d.BuildArgs}
}

func (s *scope) set(name, value string) {
	if len(value) > maxValue {
		delete(s.vars, name)
		return
	}
	s.vars[name] = value
}

// arg declares arguments: the given value is used, else the default, else that
// of the same argument before the first stage.
func (s *scope) arg(cmd instructions.ArgCommand, global map[string]string) {
	for _, kv := range cmd.Args {
		if v, ok := s.buildArgs[kv.Key]; ok {
			s.set(kv.Key, v)
		} else if kv.Value != nil {
			s.set(kv.Key, s.expand(*kv.Value))
		} else if v, ok := global[kv.Key]; ok {
			s.set(kv.Key, v)
		}
	}
}

func (s *scope) env(pairs instructions.KeyValuePairs) {
	// All values of one instruction see the variables from before it.
	values := make([]string, len(pairs))
	for i, kv := range pairs {
		values[i] = s.expand(kv.Value)
	}
	for i, kv := range pairs {
		s.set(kv.Key, values[i])
	}
}

// expand replaces variables as Dockerfile instructions do.
func (s *scope) expand(word string) string {
	list := make([]string, 0, len(s.vars))
	for k, v := range s.vars {
		list = append(list, k+"="+v)
	}
	out, _, err := s.lex.ProcessWord(word, shell.EnvsFromSlice(list))
	if err != nil {
		return word
	}
	return out
}
