package frontend

import (
	"fmt"
	"path"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// syntaxArg names another frontend on the command line.
const syntaxArg = "build-arg:BUILDKIT_SYNTAX"

// ourPath ends the repository name of this frontend, wherever it is copied to.
const ourPath = "temper/frontend"

// SyntaxError says that a Dockerfile asks for another language than this
// frontend speaks.
type SyntaxError struct {
	// Syntax is the frontend reference that is asked for.
	Syntax string
	// From is what asks: the Dockerfile's directive or the build argument.
	From string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s asks for the frontend %q, but this one is Temper, which reads Dockerfiles and passes nothing on; "+
		"remove it, or set the build argument BUILDKIT_SYNTAX to docker/dockerfile if %q is a copy of the Dockerfile frontend",
		e.From, e.Syntax, e.Syntax)
}

// checkSyntax judges "# syntax=" and BUILDKIT_SYNTAX. This frontend is the
// Dockerfile syntax, so a request for it, or for the frontend it replaces, is
// answered here and never passed on; any other language is an error. The option
// "cmdline" says that a frontend before this one has followed them already.
func (b *build) checkSyntax(opts map[string]string) error {
	if _, ok := opts["cmdline"]; ok {
		return nil
	}
	if arg, ok := opts[syntaxArg]; ok {
		syntax, _, _ := strings.Cut(strings.TrimSpace(arg), " ")
		if speaks(syntax, opts["source"]) {
			return nil
		}
		return &SyntaxError{Syntax: syntax, From: "the build argument BUILDKIT_SYNTAX"}
	}
	if syntax, _, location, ok := parser.DetectSyntax(b.Data); ok && !speaks(syntax, opts["source"]) {
		return withSource(&SyntaxError{Syntax: syntax, From: "the Dockerfile's syntax line"}, b.SourceMap, location)
	}
	return nil
}

// speaks says whether a frontend reference means this frontend or one for
// Dockerfiles, under whatever registry and organisation.
func speaks(syntax, self string) bool {
	if syntax == self {
		return true
	}
	named, err := reference.ParseNormalizedNamed(syntax)
	if err != nil {
		return false
	}
	name := reference.Path(named)
	return strings.HasPrefix(path.Base(name), "dockerfile") || name == ourPath || strings.HasSuffix(name, "/"+ourPath)
}
