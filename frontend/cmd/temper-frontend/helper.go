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
