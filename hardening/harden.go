package hardening

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/temper-images/temper/hardening/rootfs"
	"github.com/temper-images/temper/hardening/spec"
)

// Options name what Harden works on.
type Options struct {
	Settings spec.Settings
	// Rootfs is the runtime stage. It is only read.
	Rootfs *os.Root
	// Out is an empty directory that takes the hardened root filesystem.
	Out *os.Root
	// Progress gets a line for each step; nil discards them.
	Progress io.Writer
}

// Harden writes the hardened form of a root filesystem and reports what it
// did. The report's Checks are empty: Check fills them from what was written.
//
// The error is a *RuleError, a *UserError or a *CommandError when the input
// asks for what cannot be; nothing was written then.
func Harden(ctx context.Context, opts Options) (*spec.Report, error) {
	_, report, err := harden(ctx, opts)
	return report, err
}

// HardenAndCheck is Harden followed by Check. The root filesystem that was read
// for the one serves the other; what was written is read anew.
func HardenAndCheck(ctx context.Context, opts Options) (*spec.Report, error) {
	before, report, err := harden(ctx, opts)
	if err != nil {
		return nil, err
	}
	return report, check(ctx, CheckOptions{Settings: opts.Settings, After: opts.Out, Report: report}, before)
}

func harden(ctx context.Context, opts Options) (*inventory, *spec.Report, error) {
	if opts.Progress == nil {
		opts.Progress = io.Discard
	}
	watch, err := watched(opts.Settings)
	if err != nil {
		return nil, nil, err
	}
	inv, err := takeInventory(ctx, opts.Rootfs, opts.Settings.Image, watch)
	if err != nil {
		return nil, nil, err
	}
	fmt.Fprintf(opts.Progress, "read %d entries, %d ELF files, %d packages\n", len(inv.entries), len(inv.objects), len(inv.packages))
	settings, err := inv.applyPresets(opts.Settings)
	if err != nil {
		return nil, nil, err
	}
	p, err := makePlan(ctx, inv, settings)
	if err != nil {
		return nil, nil, err
	}
	report := p.report(settings)
	stats, err := rootfs.Copy(ctx, inv.tree, opts.Out, p.copy)
	if err != nil {
		return nil, nil, fmt.Errorf("write the hardened root filesystem: %w", err)
	}
	report.Notices = append(report.Notices, stats.Notices...)
	return inv, report, nil
}
