package conformance

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// suitePackage holds BuildKit's Dockerfile tests.
const suitePackage = "github.com/moby/buildkit/frontend/dockerfile"

// Suite is the compiled test suite with what it needs around it.
type Suite struct {
	// Binary is the compiled test program, Dir the suite's own directory, in
	// which it runs.
	Binary, Dir string
	// Bin is the directory that holds buildkitd and buildctl.
	Bin string

	work string
}

// Prepare compiles the suite into dir, copies its files there, for the module
// cache is read-only, and fills the mirror of the images that it builds on. Go's
// build cache makes a second time short.
func Prepare(ctx context.Context, root, dir string, log io.Writer) (*Suite, error) {
	s := &Suite{Binary: filepath.Join(dir, "dockerfile.test"), Bin: filepath.Join(root, "bin"), work: dir}
	for _, sub := range []string{"path", "mirror"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("prepare the suite: %w", err)
		}
	}

	// A module of its own keeps the copied files out of this module's "./...".
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module conformance\n"), 0o644); err != nil {
		return nil, fmt.Errorf("prepare the suite: %w", err)
	}

	fmt.Fprintln(log, "compiling BuildKit's Dockerfile test suite")
	compile := exec.CommandContext(ctx, "go", "test", "-c", "-o", s.Binary, suitePackage)
	compile.Dir, compile.Stdout, compile.Stderr = root, log, log
	if err := compile.Run(); err != nil {
		return nil, fmt.Errorf("compile %s: %w", suitePackage, err)
	}
	list := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", suitePackage)
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("find the files of %s: %w", suitePackage, err)
	}
	s.Dir = filepath.Join(dir, "suite")
	if err := os.RemoveAll(s.Dir); err != nil {
		return nil, fmt.Errorf("prepare the suite: %w", err)
	}
	if err := os.CopyFS(s.Dir, os.DirFS(strings.TrimSpace(string(out)))); err != nil {
		return nil, fmt.Errorf("copy the files of %s: %w", suitePackage, err)
	}

	// The suite looks for distribution's registry under its upstream name.
	reg, err := exec.LookPath("docker-registry")
	if err != nil {
		return nil, fmt.Errorf("find docker-registry: %w: install Debian's package docker-registry", err)
	}
	link := filepath.Join(dir, "path", "registry")
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("prepare the suite: %w", err)
	}
	if err := os.Symlink(reg, link); err != nil {
		return nil, fmt.Errorf("prepare the suite: %w", err)
	}

	fmt.Fprintln(log, "filling the suite's registry with stand-ins made from Debian packages")
	if err := fillMirror(ctx, filepath.Join(dir, "mirror", "data")); err != nil {
		return nil, err
	}
	return s, nil
}

// Run tests the frontend in the OCI image archive. tests names the tests to run,
// in their short form; none means all. log gets everything that the tests print.
//
// A test of the suite that finds less than it expects may panic and end the whole
// run. What had not ended by then is run again without it.
func (s *Suite) Run(ctx context.Context, frontend string, tests []string, log io.Writer) (map[string]Outcome, error) {
	results := map[string]Outcome{}
	for {
		some, err := s.run(ctx, frontend, tests, log)
		if err != nil {
			return nil, err
		}
		maps.Copy(results, some)
		var left []string
		for name, outcome := range some {
			if outcome == Unfinished {
				left = append(left, name)
			}
		}
		if len(left) == 0 {
			return results, nil
		}
		if len(left) == len(some) {
			return nil, fmt.Errorf("run the suite: it broke off before one of %d tests ended; see its log", len(left))
		}
		tests = left
	}
}

// run is one run of the test program.
func (s *Suite) run(ctx context.Context, frontend string, tests []string, log io.Writer) (map[string]Outcome, error) {
	pattern := "^TestIntegration$//^worker=oci$"
	if len(tests) > 0 {
		names := map[string]bool{}
		for _, t := range tests {
			name, _, _ := strings.Cut(t, "/")
			names[name] = true
		}
		pattern = "^TestIntegration$/^(" + strings.Join(slices.Sorted(maps.Keys(names)), "|") + ")$/^worker=oci$"
	}
	cmd := exec.CommandContext(ctx, "go", "tool", "test2json", "-t", s.Binary,
		"-test.v=test2json", "-test.timeout=40m", "-test.parallel="+strconv.Itoa(2*runtime.GOMAXPROCS(0)), "-test.run="+pattern)
	cmd.Dir = s.Dir
	cmd.Env = append(os.Environ(),
		"FRONTEND_GATEWAY_ONLY=local:"+frontend,
		"BUILDKIT_REGISTRY_MIRROR_DIR="+filepath.Join(s.work, "mirror"),
		"PATH="+filepath.Join(s.work, "path")+":"+s.Bin+":"+os.Getenv("PATH"),
	)
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("run the suite: %w", err)
	}
	if err := adoptOrphans(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("run the suite: %w", err)
	}
	results, parseErr := Parse(stdout, log)
	// A run with failed tests ends with an error of its own; what counts is in
	// the results.
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return nil, fmt.Errorf("run the suite: %w", err)
	}
	if err := errors.Join(parseErr, killOrphans(), ctx.Err()); err != nil {
		return nil, fmt.Errorf("run the suite: %w", err)
	}
	if len(results) == 0 {
		return nil, errors.New("run the suite: no test ran; see its log")
	}
	return results, nil
}

// Archive packs an OCI image layout directory as the archive that Run takes.
func Archive(layout, file string) error {
	out, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("pack %s: %w", layout, err)
	}
	defer out.Close()
	w := tar.NewWriter(out)
	if err := w.AddFS(os.DirFS(layout)); err != nil {
		return fmt.Errorf("pack %s: %w", layout, err)
	}
	if err := errors.Join(w.Close(), out.Close()); err != nil {
		return fmt.Errorf("pack %s: %w", layout, err)
	}
	return nil
}
