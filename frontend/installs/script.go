package installs

import (
	"maps"
	"path"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"mvdan.cc/sh/v3/syntax"
)

const (
	// maxScript bounds the shell text that is read, in bytes: the parser recurses.
	maxScript = 32 << 10
	// maxNesting bounds how deep "sh -c" is followed.
	maxNesting = 4
)

// run returns the names of the packages that a RUN instruction installs.
func run(cmd *instructions.RunCommand, vars map[string]string) []string {
	s := &script{vars: maps.Clone(vars)}
	if !cmd.PrependShell {
		s.call(cmd.CmdLine, 0)
		return s.names
	}
	text := strings.Join(cmd.CmdLine, " ")
	if len(cmd.Files) == 1 && len(cmd.CmdLine) == 1 && strings.HasPrefix(text, "<<") {
		// The here-document is the script.
		s.read(cmd.Files[0].Data, 0)
		return s.names
	}
	for _, f := range cmd.Files {
		text += "\n" + f.Data + f.Name
	}
	s.read(text, 0)
	return s.names
}

// script follows the commands of a shell script in the order of the text.
type script struct {
	vars  map[string]string
	names []string
}

func (s *script) read(text string, nesting int) {
	if len(text) > maxScript || nesting > maxNesting {
		return
	}
	p := syntax.NewParser(syntax.Variant(syntax.LangBash))
	// What stands before a syntax error was read all the same. The iterator of
	// mvdan.cc/sh v3.14 goes on after its error, and panics when that ends the loop.
	for stmt, err := range p.StmtsSeq(strings.NewReader(text)) {
		if err != nil || stmt == nil {
			continue
		}
		syntax.Walk(stmt, func(n syntax.Node) bool {
			switch n := n.(type) {
			case *syntax.CallExpr:
				if len(n.Args) == 0 {
					s.assign(n.Assigns)
				}
				s.call(s.words(n.Args), nesting)
			case *syntax.DeclClause:
				s.assign(n.Args)
			case *syntax.ForClause:
				// A loop's body is read once, with all values at once.
				if loop, ok := n.Loop.(*syntax.WordIter); ok {
					s.set(loop.Name.Value, strings.Join(s.words(loop.Items), " "))
				}
			}
			return true
		})
	}
}

func (s *script) set(name, value string) {
	if len(value) > maxValue {
		delete(s.vars, name)
		return
	}
	s.vars[name] = value
}

func (s *script) assign(list []*syntax.Assign) {
	for _, a := range list {
		if a.Name == nil || a.Naked || a.Index != nil {
			continue
		}
		value := ""
		switch {
		case a.Array != nil:
			var words []*syntax.Word
			for _, e := range a.Array.Elems {
				if e.Value != nil {
					words = append(words, e.Value)
				}
			}
			value = strings.Join(s.words(words), " ")
		case a.Value != nil:
			v, ok := s.word(a.Value)
			if !ok {
				delete(s.vars, a.Name.Value)
				continue
			}
			value = v
		}
		if a.Append {
			value = s.vars[a.Name.Value] + " " + value
		}
		s.set(a.Name.Value, value)
	}
}

// words expands words whose value is known and leaves out the others. A value is
// split at blanks whether it was quoted or not: no package's name holds one.
func (s *script) words(list []*syntax.Word) []string {
	var out []string
	for i, w := range list {
		v, ok := s.word(w)
		switch {
		case !ok:
		case i > 0 && hasVariable(w):
			out = append(out, strings.Fields(v)...)
		default:
			out = append(out, v)
		}
	}
	return out
}

func hasVariable(w *syntax.Word) bool {
	found := false
	syntax.Walk(w, func(n syntax.Node) bool {
		_, param := n.(*syntax.ParamExp)
		found = found || param
		return !found
	})
	return found
}

// word expands quotes and plain variables; ok is false for what is not known
// before the script runs.
func (s *script) word(w *syntax.Word) (string, bool) {
	var b strings.Builder
	ok := s.parts(&b, w.Parts, false)
	return b.String(), ok
}

func (s *script) parts(b *strings.Builder, parts []syntax.WordPart, quoted bool) bool {
	for _, part := range parts {
		switch part := part.(type) {
		case *syntax.Lit:
			unescape(b, part.Value, quoted)
		case *syntax.SglQuoted:
			b.WriteString(part.Value)
		case *syntax.DblQuoted:
			if !s.parts(b, part.Parts, true) {
				return false
			}
		case *syntax.ParamExp:
			if !s.param(b, part) {
				return false
			}
		default:
			return false
		}
		if b.Len() > maxValue {
			return false
		}
	}
	return true
}

// param expands $name, ${name}, ${name[@]}, ${name-default} and ${name:-default}.
func (s *script) param(b *strings.Builder, p *syntax.ParamExp) bool {
	if p.Param == nil || p.Excl || p.Length || p.Width || p.Slice != nil || p.Repl != nil || p.Names != 0 || !wholeArray(p.Index) {
		return false
	}
	value, known := s.vars[p.Param.Value]
	if p.Exp == nil {
		b.WriteString(value)
		return known
	}
	if p.Exp.Op != syntax.DefaultUnset && p.Exp.Op != syntax.DefaultUnsetOrNull {
		return false
	}
	if known && (value != "" || p.Exp.Op == syntax.DefaultUnset) {
		b.WriteString(value)
		return true
	}
	return p.Exp.Word == nil || s.parts(b, p.Exp.Word.Parts, false)
}

// wholeArray says that a subscript is absent or stands for all elements.
func wholeArray(index syntax.ArithmExpr) bool {
	if index == nil {
		return true
	}
	w, ok := index.(*syntax.Word)
	return ok && (w.Lit() == "@" || w.Lit() == "*")
}

// unescape writes literal text without its backslashes. In double quotes a
// backslash is only special before a few characters (POSIX.1-2017, Shell Command
// Language, 2.2.3).
func unescape(b *strings.Builder, lit string, quoted bool) {
	for i := 0; i < len(lit); i++ {
		if lit[i] == '\\' && i+1 < len(lit) && (!quoted || strings.IndexByte("$`\"\\", lit[i+1]) >= 0) {
			i++
		}
		b.WriteByte(lit[i])
	}
}

// call looks at one command line.
func (s *script) call(args []string, nesting int) {
	args = unwrap(args)
	if len(args) == 0 {
		return
	}
	name := path.Base(args[0])
	switch name {
	case "sh", "bash", "dash", "ash", "ksh", "zsh":
		if text, ok := shellText(args[1:]); ok {
			s.read(text, nesting+1)
		}
		return
	case "eval":
		s.read(strings.Join(args[1:], " "), nesting+1)
		return
	}
	if m, ok := managers[name]; ok {
		s.names = append(s.names, m.installed(args[1:])...)
	}
}

// shellText returns the argument of a shell's option -c, which may stand among
// other one-letter options: "-exc TEXT".
func shellText(args []string) (string, bool) {
	for i, a := range args {
		switch {
		case !strings.HasPrefix(a, "-"):
			// The value of "-o pipefail", or a script's name.
			if i == 0 || !strings.HasSuffix(args[i-1], "o") {
				return "", false
			}
		case !strings.HasPrefix(a, "--") && strings.Contains(a, "c"):
			// The text is the first argument that is no option.
			for j := i + 1; j < len(args); j++ {
				if strings.HasPrefix(args[j], "-") {
					continue
				}
				if strings.HasSuffix(args[j-1], "o") && strings.HasPrefix(args[j-1], "-") {
					continue
				}
				return args[j], true
			}
			return "", false
		}
	}
	return "", false
}

// wrappers run the command that follows their options; the value lists the
// options that have a value of their own.
var wrappers = map[string]string{
	"sudo":      "-u -g -C -h -p",
	"env":       "-u -C --unset --chdir",
	"nice":      "-n --adjustment",
	"ionice":    "-c -n -p",
	"timeout":   "-k -s --kill-after --signal",
	"command":   "",
	"exec":      "-a",
	"eatmydata": "",
	"nohup":     "",
	"fakeroot":  "",
	"time":      "",
	"retry":     "",
}

// unwrap drops wrappers and assignments before a command.
func unwrap(args []string) []string {
	for len(args) > 0 {
		name := path.Base(args[0])
		valued, ok := wrappers[name]
		if !ok {
			return args
		}
		args = args[1:]
		for len(args) > 0 && (strings.HasPrefix(args[0], "-") || strings.Contains(args[0], "=")) {
			skip := 1
			for option := range strings.FieldsSeq(valued) {
				if args[0] == option {
					skip = 2
				}
			}
			args = args[min(skip, len(args)):]
		}
		if name == "timeout" && len(args) > 0 {
			args = args[1:]
		}
	}
	return args
}
