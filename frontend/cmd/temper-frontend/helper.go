package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/temper-images/temper/hardening"
	"github.com/temper-images/temper/hardening/loadcheck"
	"github.com/temper-images/temper/hardening/spec"
	"github.com/temper-images/temper/hardening/summary"
)

// harden is the verb of the step that prunes and checks. It leaves the report in
// the directory --report, unless a promise is broken.
func harden(ctx context.Context, args []string, stderr io.Writer) error {
	var settings, rootfs, out, report string
	if err := flags("harden", args, map[string]*string{
		"settings": &settings, "rootfs": &rootfs, "out": &out, "report": &report,
	}); err != nil {
		return err
	}
	s, err := readSettings(settings)
	if err != nil {
		return err
	}
	from, err := os.OpenRoot(rootfs)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenRoot(out)
	if err != nil {
		return err
	}
	defer to.Close()
	r, err := hardening.HardenAndCheck(ctx, hardening.Options{Settings: s, Rootfs: from, Out: to, Progress: stderr})
	if err != nil {
		return err
	}
	if err := summary.Write(stderr, "", r); err != nil {
		return err
	}
	return writeReport(report, r)
}

// verify is the verb of the step that plays the dynamic loader on what harden wrote.
// It takes the report that harden left in the directory --pruning, and leaves it
// with its own check in the directory --report, unless something does not load.
func verify(ctx context.Context, args []string, stderr io.Writer) error {
	var settings, rootfs, hardened, pruning, report string
	if err := flags("verify", args, map[string]*string{
		"settings": &settings, "rootfs": &rootfs, "hardened": &hardened, "pruning": &pruning, "report": &report,
	}); err != nil {
		return err
	}
	s, err := readSettings(settings)
	if err != nil {
		return err
	}
	r, err := readReport(pruning)
	if err != nil {
		return err
	}
	before, err := os.OpenRoot(rootfs)
	if err != nil {
		return err
	}
	defer before.Close()
	after, err := os.OpenRoot(hardened)
	if err != nil {
		return err
	}
	defer after.Close()
	check, notices, err := loadcheck.Verify(ctx, loadcheck.Options{
		Before: before, After: after, Env: s.Image.Env, WorkingDir: s.Image.WorkingDir,
	})
	if err != nil {
		return err
	}
	if !check.Passed {
		return &hardening.BrokenPromiseError{Checks: []spec.Check{check}}
	}
	r.Checks = append(r.Checks, check)
	r.Notices = append(r.Notices, notices...)
	fmt.Fprintf(stderr, "ok: %s (%d examined)\n", check.Statement, check.Examined)
	return writeReport(report, r)
}

func readReport(dir string) (*spec.Report, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(spec.ReportFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return spec.ReadReport(f)
}

func readSettings(name string) (spec.Settings, error) {
	f, err := os.Open(name)
	if err != nil {
		return spec.Settings{}, err
	}
	defer f.Close()
	return spec.ReadSettings(f)
}

func writeReport(dir string, r *spec.Report) error {
	dt, err := r.Marshal()
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.WriteFile(spec.ReportFile, dt, 0o444); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
