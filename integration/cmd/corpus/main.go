// Command corpus builds the applications of the corpus at each level of
// hardening, uses them, and prints a table of what hardening cost and gained.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/temper-images/temper/hardening/spec"
	"github.com/temper-images/temper/integration/corpus"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "corpus:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	names := flag.String("apps", "", "applications, separated by commas; empty means all")
	levels := flag.String("levels", "", "levels, separated by commas; empty means all")
	jobs := flag.Int("jobs", 2, "applications to work on at a time")
	scanners := flag.Bool("scanners", false, "compare what Syft and Grype find with what is there")
	dir := flag.String("dir", "", "directory for the builder's cache, kept for the next run; empty means a temporary one")
	out := flag.String("json", "", "file for the table as JSON")
	flag.Parse()

	apps, err := chosen(*names)
	if err != nil {
		return err
	}
	opt := corpus.Options{Dir: *dir, Jobs: *jobs, Scanners: *scanners, Log: os.Stdout}
	for level := range strings.SplitSeq(*levels, ",") {
		if level != "" {
			opt.Levels = append(opt.Levels, spec.Level(level))
		}
	}
	if opt.Dir == "" {
		if opt.Dir, err = os.MkdirTemp("", "temper-"); err != nil {
			return err
		}
		defer os.RemoveAll(opt.Dir)
	}
	r, err := corpus.NewRunner(ctx, opt)
	if err != nil {
		return err
	}
	rows := r.Run(ctx, apps)
	if err := r.Close(); err != nil {
		return err
	}
	if *out != "" {
		dt, err := json.MarshalIndent(rows, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(*out, append(dt, '\n'), 0o644); err != nil {
			return fmt.Errorf("write the table: %w", err)
		}
	}
	fmt.Println()
	ok, err := corpus.Table(os.Stdout, rows)
	if err == nil && !ok {
		err = errors.New("something failed: see above")
	}
	return err
}

// chosen are the applications of those names.
func chosen(names string) ([]corpus.App, error) {
	all := corpus.Apps()
	if names == "" {
		return all, nil
	}
	var apps []corpus.App
	for name := range strings.SplitSeq(names, ",") {
		n := slices.IndexFunc(all, func(a corpus.App) bool { return a.Name == name })
		if n < 0 {
			return nil, fmt.Errorf("no application is called %q", name)
		}
		apps = append(apps, all[n])
	}
	return apps, nil
}
