package linkage

import (
	"bytes"
	"path"
	"strings"

	"github.com/google/shlex"
)

// maxShebang is how much of a script Linux reads for its first line
// (BINPRM_BUF_SIZE), in bytes.
const maxShebang = 256

// Shebang is the first line of a script.
type Shebang struct {
	// Interp is the interpreter's path as written; it may be relative.
	Interp string
	// Arg is the rest of the line, which Linux hands over as one argument.
	Arg string
	// Program is what env(1), as the interpreter, starts in its place: a path or
	// a name to look for in PATH. It is empty for other interpreters.
	Program string
	// Args are the words after Interp, or after Program when env starts it.
	Args []string
}

// ParseShebang reads the "#!" line at the start of a script as Linux does
// (execve(2), "Interpreter scripts"): of head only the first 256 bytes count.
func ParseShebang(head []byte) (Shebang, bool) {
	whole := len(head) < maxShebang
	head = head[:min(len(head), maxShebang)]
	line, ok := bytes.CutPrefix(head, []byte("#!"))
	if !ok {
		return Shebang{}, false
	}
	line, _, terminated := bytes.Cut(line, []byte("\n"))
	line, _, _ = bytes.Cut(line, []byte{0})
	text := strings.TrimLeft(string(line), " \t")
	end := strings.IndexAny(text, " \t")
	if end < 0 {
		// A path that the kernel's buffer cuts short is refused, not guessed.
		if !terminated && !whole {
			return Shebang{}, false
		}
		end = len(text)
	}
	s := Shebang{Interp: text[:end], Arg: strings.Trim(text[end:], " \t")}
	if s.Interp == "" {
		return Shebang{}, false
	}
	if s.Arg != "" {
		s.Args = []string{s.Arg}
	}
	if path.Base(s.Interp) == "env" && s.Arg != "" {
		s.Program, s.Args = envProgram(s.Arg)
	}
	return s, true
}

// envProgram finds in env's one argument the program that env starts.
func envProgram(arg string) (program string, args []string) {
	words := []string{arg}
	for _, option := range []string{"-S", "-vS", "--split-string=", "--split-string"} {
		rest, ok := strings.CutPrefix(arg, option)
		if !ok {
			continue
		}
		split, err := shlex.Split(rest)
		if err != nil {
			return "", nil
		}
		words = split
		break
	}
	for len(words) > 0 {
		switch w := words[0]; {
		case w == "-u" || w == "--unset" || w == "-C" || w == "--chdir":
			words = words[min(2, len(words)):]
		case strings.HasPrefix(w, "-"), strings.Contains(w, "="):
			words = words[1:]
		default:
			return w, words[1:]
		}
	}
	return "", nil
}
