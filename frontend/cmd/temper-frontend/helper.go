package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/temper-images/temper/hardening"
	"github.com/temper-images/temper/hardening/spec"
	"github.com/temper-images/temper/hardening/summary"
)

// harden is the verb of the step that prunes. It leaves the report, whose checks
// are still open, in the directory --report.
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
	r, err := hardening.Harden(ctx, hardening.Options{Settings: s, Rootfs: from, Out: to, Progress: stderr})
	if err != nil {
		return err
	}
	return writeReport(report, r)
}

// check is the verb of the step that tests what harden wrote. It leaves the whole
// report in the directory --report.
func check(ctx context.Context, args []string, stderr io.Writer) error {
	var settings, before, after, plan, report string
	if err := flags("check", args, map[string]*string{
		"settings": &settings, "before": &before, "after": &after, "plan": &plan, "report": &report,
	}); err != nil {
		return err
	}
	s, err := readSettings(settings)
	if err != nil {
		return err
	}
	r, err := readReport(plan)
	if err != nil {
		return err
	}
	from, err := os.OpenRoot(before)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenRoot(after)
	if err != nil {
		return err
	}
	defer to.Close()
	if err := hardening.Check(ctx, hardening.CheckOptions{Settings: s, Before: from, After: to, Report: r}); err != nil {
		return err
	}
	if err := summary.Write(stderr, "", r); err != nil {
		return err
	}
	return writeReport(report, r)
}

func readSettings(name string) (spec.Settings, error) {
	f, err := os.Open(name)
	if err != nil {
		return spec.Settings{}, err
	}
	defer f.Close()
	return spec.ReadSettings(f)
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
