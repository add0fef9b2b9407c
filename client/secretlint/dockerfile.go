package secretlint

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// maxDockerfile bounds a Dockerfile, in bytes.
const maxDockerfile = 4 << 20

// Dockerfile lists the ARG and ENV instructions of a Dockerfile, those behind
// ONBUILD included, in their order. Variables in values are not replaced.
func Dockerfile(dt []byte) ([]Setting, error) {
	if len(dt) > maxDockerfile {
		return nil, fmt.Errorf("the Dockerfile is larger than %d bytes", maxDockerfile)
	}
	parsed, err := parser.Parse(bytes.NewReader(dt))
	if err != nil {
		return nil, fmt.Errorf("parse the Dockerfile: %w", err)
	}
	var out []Setting
	for _, node := range parsed.AST.Children {
		out = append(out, settings(node, node.StartLine)...)
	}
	return out, nil
}

func settings(node *parser.Node, line int) []Setting {
	var out []Setting
	switch strings.ToLower(node.Value) {
	case "onbuild":
		if node.Next != nil && len(node.Next.Children) > 0 {
			return settings(node.Next.Children[0], line)
		}
	case "arg":
		for n := node.Next; n != nil; n = n.Next {
			name, value, ok := strings.Cut(n.Value, "=")
			out = append(out, Setting{Source: Arg, Name: name, Value: unquote(value), NoValue: !ok, Line: line})
		}
	case "env":
		// A name, its value and what stands between them.
		for n := node.Next; n != nil && n.Next != nil; {
			out = append(out, Setting{Source: Env, Name: n.Value, Value: unquote(n.Next.Value), Line: line})
			n = n.Next.Next
			if n != nil {
				n = n.Next
			}
		}
	}
	return out
}

func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}
