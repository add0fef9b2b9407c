package corpus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/temper-images/temper/frontend/installs"
	"github.com/temper-images/temper/hardening/spec"
	"github.com/temper-images/temper/integration/door"
)

// Measure is what was found at one level.
type Measure struct {
	// Bytes is the root filesystem's size as du counts it, see diskUse.
	Bytes int64 `json:"bytes"`
	// Files, Executables, Libraries, Packages and SetUID count as spec.Totals does.
	Files       int `json:"files"`
	Executables int `json:"executables"`
	Libraries   int `json:"libraries"`
	Packages    int `json:"packages"`
	SetUID      int `json:"setuid"`
	// Hardening is how long the step took.
	Hardening time.Duration `json:"hardeningNanoseconds"`
	// Build, Works, Others and Scanners say what failed; empty means nothing.
	Build    string `json:"build,omitempty"`
	Works    string `json:"works,omitempty"`
	Others   string `json:"others,omitempty"`
	Scanners string `json:"scanners,omitempty"`
	// Scanned says that the scanners were asked.
	Scanned bool `json:"scanned,omitempty"`
}

// Passed says that nothing failed.
func (m *Measure) Passed() bool {
	return m.Build == "" && m.Works == "" && m.Others == "" && m.Scanners == ""
}

// Row is an application in the table.
type Row struct {
	App string `json:"app"`
	// Err says why nothing could be done.
	Err    string                  `json:"error,omitempty"`
	Levels map[spec.Level]*Measure `json:"levels"`
	// Closure is the size of the files of the packages that the Dockerfile installs
	// by name and of those they depend on, without documentation, as du counts.
	Closure int64 `json:"closure"`
	// Own is the size of the files in the minimal image that no package owns: a
	// package closure needs them too before it is the application.
	Own int64 `json:"own"`

	runtime *dpkg
	scan    *findings
}

// block is the unit in which du and most filesystems count, in bytes.
const block = 4096

// inode identifies a file with several names.
type inode struct{ dev, ino uint64 }

// diskUse is the size of an entry in blocks of 4 KiB, as du counts on a filesystem
// that keeps short links in their inodes. It does not depend on the filesystem at
// hand, but for the holes of sparse files.
func diskUse(info fs.FileInfo) int64 {
	switch {
	case info.IsDir():
		return block
	case info.Mode()&fs.ModeSymlink != 0 && info.Size() < 60:
		return 0
	case !info.Mode().IsRegular() && info.Mode()&fs.ModeSymlink == 0:
		return 0
	}
	size := (info.Size() + block - 1) / block * block
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Blocks > 0 {
		size = min(size, (st.Blocks*512+block-1)/block*block)
	}
	return size
}

// treeSize is the size of a directory and everything below it, hardlinks once.
func treeSize(root string) (int64, error) {
	var sum int64
	seen := map[inode]bool{}
	err := filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 && !info.IsDir() {
			id := inode{st.Dev, st.Ino}
			if seen[id] {
				return nil
			}
			seen[id] = true
		}
		sum += diskUse(info)
		return nil
	})
	return sum, err
}

// measure fills in what is measured on an instance's root filesystem.
func (r *Runner) measure(ctx context.Context, i *Instance, b door.Build, level spec.Level, m *Measure, row *Row) error {
	var err error
	if m.Bytes, err = treeSize(i.Root); err != nil {
		return fmt.Errorf("measure the root filesystem: %w", err)
	}
	before := row.Levels[spec.LevelOff]
	if level == spec.LevelOff {
		names, err := installedByName(b.Context)
		if err != nil {
			return err
		}
		if row.runtime, err = readDpkg(i.Root); err != nil {
			return err
		}
		row.Closure = row.runtime.closureSize(i.Root, names)
		if r.opt.Scanners {
			row.scan, err = r.scanRuntime(ctx, i, row.runtime)
		}
		return err
	}
	var report spec.Report
	if err := i.Image.Predicate(spec.PredicateType, &report); err != nil {
		return err
	}
	m.count(report.After)
	if before != nil {
		before.count(report.Before)
	}
	if level == spec.LevelMinimal && row.runtime != nil {
		if row.Own, err = row.runtime.unowned(i.Root); err != nil {
			return err
		}
	}
	if row.scan != nil {
		m.Scanned = true
		if err := r.scanHardened(ctx, i, row.runtime, row.scan); err != nil {
			m.Scanners = err.Error()
		}
	}
	return nil
}

func (m *Measure) count(t spec.Totals) {
	m.Files, m.Executables, m.Libraries, m.Packages, m.SetUID = t.Files, t.Executables, t.Libraries, t.Packages, t.SetUID
}

// hardenVertex is the step of the build's log that hardens.
var (
	hardenVertex = regexp.MustCompile(`(?m)^#(\d+) \[?harden`)
	vertexDone   = regexp.MustCompile(`(?m)^#(\d+) DONE ([0-9.]+)s`)
)

// hardeningTime reads from a build's log how long hardening took.
func hardeningTime(log string) time.Duration {
	var sum time.Duration
	steps := map[string]bool{}
	for _, m := range hardenVertex.FindAllStringSubmatch(log, -1) {
		steps[m[1]] = true
	}
	for _, m := range vertexDone.FindAllStringSubmatch(log, -1) {
		if steps[m[1]] {
			if d, err := time.ParseDuration(m[2] + "s"); err == nil {
				sum += d
			}
		}
	}
	return sum
}

// installedByName lists the packages that a context's Dockerfile installs by name
// in its last stage.
func installedByName(dir string) ([]string, error) {
	dt, err := os.ReadFile(filepath.Join(dir, "Dockerfile"))
	if err != nil {
		return nil, err
	}
	parsed, err := parser.Parse(bytes.NewReader(dt))
	if err != nil {
		return nil, fmt.Errorf("read the Dockerfile: %w", err)
	}
	stages, args, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		return nil, fmt.Errorf("read the Dockerfile: %w", err)
	}
	if len(stages) == 0 {
		return nil, errors.New("read the Dockerfile: it has no stage")
	}
	return installs.Packages(installs.Dockerfile{Args: args, Stages: stages, Escape: parsed.EscapeToken}, len(stages)-1), nil
}
