// Command temper builds hardened images from ordinary Dockerfiles.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/moby/buildkit/solver/errdefs"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/builder"
	"github.com/temper-images/temper/client/daemon"
	"github.com/temper-images/temper/client/evidence"
	"github.com/temper-images/temper/client/frontend"
	"github.com/temper-images/temper/client/gate"
	"github.com/temper-images/temper/client/inspect"
	"github.com/temper-images/temper/client/publish"
	"github.com/temper-images/temper/client/redact"
	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/scan"
	"github.com/temper-images/temper/client/secretstore"
	"github.com/temper-images/temper/client/signing"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/client/telemetry"
	"github.com/temper-images/temper/client/transfer"
	"github.com/temper-images/temper/client/verify"
	"github.com/temper-images/temper/client/vex"
	"github.com/temper-images/temper/frontend/config"
)

// The exit codes; they are part of the documented behaviour.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNoBuilder   = 3
	exitNoFrontend  = 4
	exitRefused     = 5
	exitUnsigned    = 6
	exitWrongSigner = 7
	exitPolicy      = 8
	exitRegistry    = 9
	exitCrashed     = 70
	exitInterrupted = 130
)

const exitCodesHelp = `Exit codes:
  0    done
  1    the build failed, or a check found something
  2    the command line, the context or the Dockerfile's name is wrong
  3    no builder was found, or the one that was named does not answer
  4    no usable frontend was found
  5    a gate refused the image
  6    the image is not signed
  7    the image is signed by somebody else, or was changed
  8    the image does not meet the verification policy
  9    a registry cannot be reached, throttles, or denies access
  130  interrupted`

// errInterrupted is why a build ends after Ctrl-C.
var errInterrupted = errors.New("interrupted")

// codeError ends the program with a code and without a message.
type codeError int

func (e codeError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	logrus.SetFormatter(logFormatter{&logrus.TextFormatter{}})
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel(errInterrupted)
		<-signals
		// Whatever still runs is stopped by those who hold on to us: the
		// kernel takes back our lease on buildkitd.
		os.Exit(exitInterrupted)
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// logFormatter prints what the libraries log, but for two remarks of the content
// store: one is about a feature of file systems that nothing here uses, the other
// repeats an error that the build ends with.
type logFormatter struct{ logrus.Formatter }

func (f logFormatter) Format(e *logrus.Entry) ([]byte, error) {
	if strings.Contains(e.Message, "fsverity") || e.Message == "(*service).Write failed" {
		return nil, nil
	}
	return f.Formatter.Format(e)
}

// gcPercent is lower than Go's own 100: a release has the packages and files of an
// image in memory, which lowers its peak by a quarter for a twentieth of its time.
const gcPercent = 50

// run is the program. It returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	started := false
	secrets := &redact.Redactor{}
	secrets.AddEnvironment(os.Environ())
	stderr, flush := filtered(secrets, stderr)
	defer func() {
		if err := flush(); err != nil && code == exitOK {
			code = exitFailed
		}
	}()
	stores := secretstore.NewResolver(secretstore.Options{Secrets: secrets})
	defer stores.Close()
	ctx = withSecrets(ctx, secrets, stores)
	defer secrets.Crash(stderr, func() { os.Exit(exitCrashed) })
	root := newRoot()
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var silent codeError
	if errors.As(err, &silent) {
		return int(silent)
	}
	for _, s := range errdefs.Sources(err) {
		if perr := s.Print(stderr); perr != nil {
			err = errors.Join(err, perr)
		}
	}
	fmt.Fprintf(stderr, "ERROR: %v\n", err)
	if !started {
		return exitUsage
	}
	return exitCode(ctx, err)
}

func exitCode(ctx context.Context, err error) int {
	var (
		input       *build.InputError
		unreachable *builder.UnreachableError
		notFound    *builder.NotFoundError
		noFrontend  *frontend.MissingError
		badFrontend *frontend.InvalidError
		settings    *signing.ConfigurationError
		noSubject   *subject.InputError
		noSBOM      *scan.InputError
		refused     *gate.RefusedError
		unfit       *inspect.RefusedError
		badConfig   *config.Error
		badPolicy   *gate.PolicyError
		badRules    *inspect.PolicyError
		badVEX      *vex.DocumentError
		badStore    *evidence.LocationError
		badFile     *transfer.ArchiveError
		badTransfer *transfer.InputError
		badVerify   *verify.PolicyError
		noImage     *verify.NotFoundError
		unverified  *verify.FailedError
		exchanged   *registry.DigestError
		badRequest  *publish.RequestError
	)
	switch {
	case errors.Is(context.Cause(ctx), errInterrupted):
		return exitInterrupted
	case errors.As(err, &input), errors.As(err, &settings), errors.As(err, &noSubject), errors.As(err, &noSBOM),
		errors.As(err, &badConfig), errors.As(err, &badPolicy), errors.As(err, &badRules), errors.As(err, &badVEX), errors.As(err, &badStore),
		errors.As(err, &badFile), errors.As(err, &badTransfer), errors.As(err, &badVerify), errors.As(err, &noImage),
		errors.As(err, &badRequest):
		return exitUsage
	case errors.As(err, &unreachable), errors.As(err, &notFound):
		return exitNoBuilder
	case errors.As(err, &noFrontend), errors.As(err, &badFrontend):
		return exitNoFrontend
	case errors.As(err, &refused), errors.As(err, &unfit):
		return exitRefused
	case errors.As(err, &unverified):
		return verifyCodes[unverified.Reason()]
	case errors.As(err, &exchanged):
		return exitWrongSigner
	case offline(err):
		return exitRegistry
	}
	return exitFailed
}

// offline says that a registry did not do what it was asked: it cannot be reached,
// throttles, denies access, or answers something else than a registry does.
func offline(err error) bool {
	var (
		unreachable *registry.UnreachableError
		denied      *registry.DeniedError
		status      *registry.StatusError
		silent      *subject.UnreachableError
	)
	return errors.As(err, &unreachable) || errors.As(err, &silent) || errors.As(err, &denied) || errors.As(err, &status) && !errors.Is(err, registry.ErrNotFound)
}

func newRoot() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "temper",
		Short:         "Build hardened images from ordinary Dockerfiles",
		Long:          "Build hardened images from ordinary Dockerfiles.\n\n" + exitCodesHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
	}
	var flags builderFlags
	flags.add(cmd.PersistentFlags())
	var records telemetry.Options
	records.AddFlags(cmd.PersistentFlags())
	cmd.AddCommand(newBuild(&flags, &records), newDoctor(&flags), newVersion(), newDaemon())
	cmd.AddCommand(newSign(), newVerifyBlob(), newKey())
	cmd.AddCommand(newSBOM(&records), newScan(&records), newDB(&records))
	evidence := newEvidence()
	evidence.AddCommand(newEvidenceCreate(&records))
	cmd.AddCommand(newRelease(&flags, &records), newPublish(&records), newStore(&records), evidence)
	cmd.AddCommand(newAttest(&records), newInspect(&records), newReport(), newVerify(&records))
	cmd.AddCommand(newCopy(&records), newSave(&records), newLoad(&records))
	cmd.AddCommand(newWhy(&records), newDiff(&records))
	return cmd
}

// newDaemon is the part of temper that keeps a buildkitd of its own alive.
func newDaemon() *cobra.Command {
	return &cobra.Command{
		Use:                "daemon",
		Hidden:             true,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return daemon.Main(cmd.Context(), args, cmd.ErrOrStderr())
		},
	}
}
