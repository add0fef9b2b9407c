package closure

import (
	"bytes"
	"errors"
	"path"
	"runtime"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// maxScript bounds the size of a shell script that is searched for commands, in
// bytes.
const maxScript = 1 << 20

// shells are the interpreters whose scripts the parser understands.
var shells = []string{"ash", "bash", "busybox", "dash", "ksh", "mksh", "sh", "zsh"}

// isShellScript reports whether a file is a script whose commands can be read.
func (w *walk) isShellScript(e int) bool {
	entry := w.sys.Entries[e]
	s, ok := w.sys.Scripts[entry.Path]
	return ok && entry.Size <= maxScript && (slices.Contains(shells, path.Base(s.Interp)) || slices.Contains(shells, path.Base(s.Program)))
}

// Commands returns the words of a shell text that may name commands, sorted:
// those in the place of a command, and their arguments, since "exec nginx" and
// "gosu app redis-server" run their arguments. It is a best effort: a command in a
// variable is not seen. A text that is no shell script has none.
func Commands(text []byte) []string {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(&shallowReader{Reader: bytes.NewReader(text)}, "")
	if err != nil {
		return nil
	}
	found := map[string]bool{}
	syntax.Walk(file, func(n syntax.Node) bool {
		if call, ok := n.(*syntax.CallExpr); ok {
			for i, word := range call.Args {
				if name := literal(word); name != "" && (i == 0 || !strings.HasPrefix(name, "-")) {
					found[name] = true
				}
			}
		}
		return true
	})
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// maxFrames bounds how deep the parser may call itself, in calls. Real scripts
// take it to some hundred.
const maxFrames = 4096

// errTooDeep ends the parsing of a text that nests without end.
var errTooDeep = errors.New("the script nests too deeply")

// shallowReader gives a text to the parser, which recurses for each "(" and knows
// no limit, so that a megabyte of them would end the process. It reads a little at
// a time, in the depth of its recursion, where it can be counted.
type shallowReader struct {
	*bytes.Reader
	calls [maxFrames]uintptr
}

func (r *shallowReader) Read(p []byte) (int, error) {
	const most = 512
	if runtime.Callers(1, r.calls[:]) == maxFrames {
		return 0, errTooDeep
	}
	return r.Reader.Read(p[:min(len(p), most)])
}

// literal returns a word without its quotes, or nothing when a part of it is only
// known when the script runs.
func literal(word *syntax.Word) string {
	if name := word.Lit(); name != "" || len(word.Parts) != 1 {
		return name
	}
	switch part := word.Parts[0].(type) {
	case *syntax.SglQuoted:
		return part.Value
	case *syntax.DblQuoted:
		if len(part.Parts) == 1 {
			if lit, ok := part.Parts[0].(*syntax.Lit); ok {
				return lit.Value
			}
		}
	}
	return ""
}
