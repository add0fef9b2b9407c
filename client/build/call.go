package build

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/subrequests"
	"github.com/moby/buildkit/frontend/subrequests/lint"
	"github.com/moby/buildkit/frontend/subrequests/outline"
	"github.com/moby/buildkit/frontend/subrequests/targets"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tonistiigi/go-csvvalue"
	"google.golang.org/protobuf/proto"
)

// Call is a question to the frontend about a Dockerfile.
type Call struct {
	// Name is "lint", "outline", "targets" or another request of the frontend,
	// without its prefix "frontend.".
	Name string
	// JSON asks for the answer as JSON.
	JSON bool
	// IgnoreStatus makes the exit code 0 whatever the answer is.
	IgnoreStatus bool
}

// ParseCall reads "METHOD[,format=json|text][,ignorestatus=true]" as docker
// buildx build --call takes it. For "build" it returns nil.
func ParseCall(spec string) (*Call, error) {
	if spec == "" {
		return nil, nil
	}
	fields, err := csvvalue.Fields(spec, nil)
	if err != nil {
		return nil, inputErrorf("--call %s: %w", spec, err)
	}
	c := &Call{}
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		switch {
		case !ok && c.Name == "":
			c.Name = field
		case key == "format" && (value == "json" || value == "text"):
			c.JSON = value == "json"
		case key == "ignorestatus":
			if c.IgnoreStatus, err = strconv.ParseBool(value); err != nil {
				return nil, inputErrorf("--call %s: ignorestatus is true or false", spec)
			}
		default:
			return nil, inputErrorf("--call %s: %q is not understood: want METHOD[,format=json|text][,ignorestatus=true]", spec, field)
		}
	}
	switch c.Name {
	case "", "build":
		return nil, nil
	case "check":
		c.Name = "lint"
	}
	return c, nil
}

// Print writes the frontend's answer to r and returns the exit code that goes
// with it.
func (c *Call) Print(w io.Writer, r *Result) (int, error) {
	meta := r.Metadata
	var err error
	switch {
	case c.JSON:
		_, err = fmt.Fprintln(w, strings.TrimSuffix(string(meta["result.json"]), "\n"))
	case c.Name == "lint":
		err = printLint(w, meta, r.Dockerfile)
	case c.Name == "outline":
		err = outline.PrintOutline(meta["result.json"], w)
	case c.Name == "targets":
		err = targets.PrintTargets(meta["result.json"], w)
	case c.Name == "subrequests.describe":
		err = subrequests.PrintDescribe(meta["result.json"], w)
	default:
		_, err = w.Write(meta["result.txt"])
	}
	if err != nil {
		return 0, err
	}
	if v, ok := meta["result.statuscode"]; ok && !c.IgnoreStatus {
		code, err := strconv.Atoi(string(v))
		if err != nil {
			return 0, fmt.Errorf("the frontend answered with the status %q", v)
		}
		return code, nil
	}
	return 0, nil
}

func printLint(w io.Writer, meta map[string][]byte, dockerfile string) error {
	var results lint.LintResults
	if err := json.Unmarshal(meta["result.json"], &results); err != nil {
		return fmt.Errorf("decode the frontend's answer: %w", err)
	}
	switch n := len(results.Warnings); {
	case n == 1:
		fmt.Fprintln(w, "Check complete, 1 warning has been found!")
	case n > 1:
		fmt.Fprintf(w, "Check complete, %d warnings have been found!\n", n)
	case results.Error == nil:
		fmt.Fprintln(w, "Check complete, no warnings found.")
	}
	rename := func(src *pb.SourceInfo) *pb.SourceInfo {
		if src == nil || dockerfile == "" {
			return src
		}
		src = proto.CloneOf(src)
		src.Filename = dockerfile
		return src
	}
	if err := results.PrintTo(w, rename); err != nil {
		return err
	}
	if results.Error != nil {
		var b strings.Builder
		results.PrintErrorTo(&b, rename)
		return errors.New(strings.TrimSpace(b.String()))
	}
	return nil
}
