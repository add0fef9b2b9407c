// Command conformance runs BuildKit's Dockerfile test suite against a frontend
// and fails when the results differ from the list of expected failures.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/temper-images/temper/integration/conformance"
	"github.com/temper-images/temper/integration/tools"
)

func main() {
	mode := flag.String("mode", string(conformance.Off), "what to test: stock (BuildKit's own frontend), off or exclusive (Temper's, at that hardening level)")
	tests := flag.String("tests", "", "names of the tests to run, separated by commas; all when empty")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, conformance.Mode(*mode), *tests)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, mode conformance.Mode, tests string) error {
	expected, err := conformance.Expected(mode)
	if err != nil {
		return err
	}
	root, dir := tools.Root(), tools.Path("conformance")
	suite, err := conformance.Prepare(ctx, root, dir, os.Stdout)
	if err != nil {
		return err
	}
	var frontend string
	if mode == conformance.Stock {
		frontend, err = conformance.StockFrontend(ctx, root, dir)
	} else {
		frontend, err = conformance.TemperFrontend(tools.Path("frontend"), mode, dir)
	}
	if err != nil {
		return err
	}
	file := filepath.Join(dir, string(mode)+".log")
	log, err := os.Create(file)
	if err != nil {
		return err
	}
	defer log.Close()

	fmt.Printf("running the suite, mode %s; its output goes to %s\n", mode, file)
	var names []string
	if tests != "" {
		names = strings.Split(tests, ",")
	}
	start := time.Now()
	results, err := suite.Run(ctx, frontend, names, log)
	if err != nil {
		return err
	}
	if names != nil {
		maps.DeleteFunc(expected, func(name string, _ conformance.Failure) bool { _, ran := results[name]; return !ran })
	}
	verdict := conformance.Judge(results, expected)
	if again := verdict.UnexpectedFail; len(again) > 0 && len(again) <= 40 {
		// On a busy machine a test may run into a time limit of the suite's own.
		fmt.Printf("running again what failed unexpectedly: %s\n", strings.Join(again, ", "))
		second, err := suite.Run(ctx, frontend, again, log)
		if err != nil {
			return err
		}
		for _, name := range again {
			if second[name] == conformance.Pass {
				fmt.Printf("%s passed the second time\n", name)
				results[name] = conformance.Pass
			}
		}
		verdict = conformance.Judge(results, expected)
	}
	if err := writeResults(filepath.Join(dir, string(mode)+".results"), results); err != nil {
		return err
	}
	return report(os.Stdout, mode, verdict, time.Since(start))
}

// report prints the verdict and is an error unless all is as expected.
func report(w io.Writer, mode conformance.Mode, v conformance.Verdict, took time.Duration) error {
	fmt.Fprintf(w, "mode %s, %s: %d passed, %d failed, %d skipped\n", mode, took.Round(time.Second), v.Passed, v.Failed, v.Skipped)
	for _, l := range []struct {
		what  string
		names []string
	}{
		{"failed, but not in the list", v.UnexpectedFail},
		{"in the list, but did not fail", v.UnexpectedPass},
		{"in the list, but no such test", v.Unknown},
	} {
		if len(l.names) > 0 {
			fmt.Fprintf(w, "%s: %s\n", l.what, strings.Join(l.names, ", "))
		}
	}
	if !v.OK() {
		return fmt.Errorf("results differ from integration/conformance/expected-failures-%s.txt", mode)
	}
	return nil
}

// writeResults lists every test with its outcome.
func writeResults(file string, results map[string]conformance.Outcome) error {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(results)) {
		fmt.Fprintf(&b, "%s %s\n", results[name], name)
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}
