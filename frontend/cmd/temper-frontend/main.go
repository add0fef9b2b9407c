// Command temper-frontend is the one program of the frontend image. Run bare, by
// BuildKit, it is the Dockerfile frontend; run with a verb, by a build step, it
// is the helper that hardens a root filesystem.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"runtime/debug"
	"slices"

	"github.com/moby/buildkit/frontend/gateway/grpcclient"
	"github.com/moby/buildkit/util/appcontext"

	"github.com/temper-images/temper/frontend"
	"github.com/temper-images/temper/hardening"
)

// Exit codes, as in sysexits.h.
const (
	exitUsage    = 64 // the command line is wrong
	exitData     = 65 // the image cannot be hardened as asked, or a promise is broken
	exitSoftware = 70 // a fault in this program
	exitIO       = 74 // reading or writing failed
)

const usage = `usage: temper-frontend                 run as a BuildKit gateway frontend
       temper-frontend harden FLAGS    write the hardened form of a root filesystem and check it
       temper-frontend verify FLAGS    play the dynamic loader on what harden wrote
       temper-frontend version         say which version this is
`

func main() {
	os.Exit(run(appcontext.Context(), os.Args[1:], os.Stdout, os.Stderr))
}

// usageError is a command line that cannot be carried out.
type usageError struct{ error }

// run returns the exit code. Standard output belongs to BuildKit's protocol when
// there is no verb.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	defer func() {
		if v := recover(); v != nil {
			fmt.Fprintf(stderr, "temper-frontend: internal error, please report it: %v\n%s", v, debug.Stack())
			code = exitSoftware
		}
	}()
	err := dispatch(ctx, args, stdout, stderr)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "temper-frontend: %v\n", err)
	var (
		bad     usageError
		rule    *hardening.RuleError
		user    *hardening.UserError
		command *hardening.CommandError
		promise *hardening.BrokenPromiseError
		path    *fs.PathError
	)
	switch {
	case errors.As(err, &bad):
		fmt.Fprint(stderr, usage)
		return exitUsage
	case errors.As(err, &rule), errors.As(err, &user), errors.As(err, &command), errors.As(err, &promise):
		leaveRefusal(args, err)
		return exitData
	case errors.As(err, &path):
		return exitIO
	}
	return exitSoftware
}

func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return grpcclient.RunFromEnvironment(ctx, frontend.Frontend{Environ: os.Environ()}.Build)
	}
	verb, args := args[0], args[1:]
	switch verb {
	case "harden":
		return harden(ctx, args, stderr)
	case "verify":
		return verify(ctx, args, stderr)
	case "version":
		_, err := fmt.Fprintln(stdout, version())
		return err
	}
	return usageError{fmt.Errorf("the verb %q is not known", verb)}
}

// flags reads flags that all are paths and all are required.
func flags(verb string, args []string, paths map[string]*string) error {
	set := flag.NewFlagSet(verb, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for name, p := range paths {
		set.StringVar(p, name, "", "")
	}
	if err := set.Parse(args); err != nil {
		return usageError{fmt.Errorf("%s: %w", verb, err)}
	}
	if set.NArg() > 0 {
		return usageError{fmt.Errorf("%s: %q is not a flag", verb, set.Arg(0))}
	}
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		if *paths[name] == "" {
			return usageError{fmt.Errorf("%s: the flag --%s is missing", verb, name)}
		}
	}
	return nil
}

// version is the module's version, as the Go linker recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "temper-frontend (no build information)"
	}
	revision := ""
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			revision = " " + s.Value
		}
	}
	return fmt.Sprintf("temper-frontend %s%s %s", info.Main.Version, revision, info.GoVersion)
}
