package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/shlex"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/vulndb"
	"github.com/temper-images/temper/client/vulndb/vulndbtest"
	"github.com/temper-images/temper/integration/door"
	"github.com/temper-images/temper/integration/registry"
	"github.com/temper-images/temper/integration/tools"
)

// byMake are the commands of the documentation that continuous integration runs
// itself, so that this test need not.
var byMake = []string{"make build", "make demo", "make test"}

// published stands in the documentation for the frontend in a registry.
const published = "registry.example.com/temper/frontend:1"

// documentedRegistry stands in the documentation for the user's registry.
const documentedRegistry = "registry.example.com"

// Every command in the README and the documentation is run as it stands, in a
// directory like the one it is meant for. Only what stands for a registry is
// added: the frontend and the base image as named contexts, and the builder.
func TestDocumentedCommands(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(tools.Root(), "docs", "*.md"))
	require.NoError(t, err)
	files = append(files, filepath.Join(tools.Root(), "README.md"))
	dir := documentedDirectory(t)
	frontend := frontendLayout(t)
	buildx, err := door.NewBuildx(t.Context(), t.TempDir(), shared.Addr, frontend, tools.Path("buildx"))
	require.NoError(t, err)
	contexts := contexts(t, "debian:bookworm", "debian:bookworm-slim")
	images, err := registry.Start(t.Context(), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, images.Stop()) })
	ran := 0
	for _, file := range files {
		dt, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, command := range shellCommands(string(dt)) {
			if slices.Contains(byMake, command) {
				ran++
				continue
			}
			t.Run(filepath.Base(file)+": "+command, func(t *testing.T) {
				words, err := shlex.Split(command)
				require.NoError(t, err)
				cmd := exec.CommandContext(bounded(t), tools.Path("temper"))
				switch {
				case slices.Contains([]string{"temper", "bin/temper"}, words[0]):
					for i := range words {
						words[i] = strings.ReplaceAll(words[i], documentedRegistry, images.Host)
					}
					cmd.Args = append([]string{"temper", "--builder", shared.Addr}, words[1:]...)
					switch {
					case words[1] == "release", words[1] == "evidence" && words[2] == "create":
						cmd.Args = append(cmd.Args, "--db", "harmless-db.tar.zst")
					}
					if words[1] == "build" || words[1] == "release" {
						for name, layout := range contexts {
							cmd.Args = append(cmd.Args, "--build-context", name+"="+layout)
						}
					}
				case strings.HasPrefix(command, "docker buildx build "):
					cmd = buildx.Command(bounded(t), words[2:]...)
					for name, layout := range contexts {
						cmd.Args = append(cmd.Args, "--build-context", name+"="+layout)
					}
					if !strings.Contains(command, published) {
						cmd.Args = append(cmd.Args, "--build-context", published+"=oci-layout://bin/frontend")
					}
				case words[0] == "buildctl":
					cmd = exec.CommandContext(bounded(t), tools.Path("buildctl"), append([]string{"--addr", shared.Addr}, words[1:]...)...)
					cmd.Args = append(cmd.Args, "--oci-layout", "frontend="+frontend.Dir,
						"--opt", "context:"+published+"=oci-layout://frontend@"+frontend.Digest)
					for i, name := range []string{"debian:bookworm", "debian:bookworm-slim"} {
						layout, digest, _ := strings.Cut(strings.TrimPrefix(contexts[name], "oci-layout://"), "@")
						id := "base" + string(rune('0'+i))
						cmd.Args = append(cmd.Args, "--oci-layout", id+"="+layout, "--opt", "context:"+name+"=oci-layout://"+id+"@"+digest)
					}
				default:
					t.Fatalf("%s: no rule says how to run %q", file, command)
				}
				cmd.Dir = dir
				if cmd.Env == nil {
					cmd.Env = os.Environ()
				}
				// Each page is read by itself: what another one stored unsigned, or signed
				// with another key, is rightly refused.
				cmd.Env = append(cmd.Env, vulndb.EnvDir+"="+filepath.Join(dir, ".cache"), "COSIGN_PASSWORD=documented",
					"TEMPER_EVIDENCE_URL=temper-evidence-"+filepath.Base(file), "XDG_STATE_HOME="+filepath.Join(dir, ".state"))
				out, err := cmd.CombinedOutput()
				require.NoError(t, err, "%s", out)
				ran++
			})
		}
	}
	require.Greater(t, ran, 8, "commands found in the documentation")
}

// documentedDirectory is a checkout as the documentation sees it: the programs
// in bin/, the examples, and a Dockerfile of the user's own with the syntax line.
func documentedDirectory(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(tools.Root(), "README.md"))
	require.NoError(t, err)
	dockerfile := regexp.MustCompile("(?s)```dockerfile\n(.*?)```").FindStringSubmatch(string(readme))
	require.Len(t, dockerfile, 2, "the README shows a Dockerfile")
	dir := contextDir(t, map[string]string{"Dockerfile": dockerfile[1], ".dockerignore": "bin\nexamples\n*.oci\n*.tar\n"})
	vulnerabilities(t, dir)
	for _, name := range []string{"bin", "examples"} {
		require.NoError(t, os.Symlink(filepath.Join(tools.Root(), name), filepath.Join(dir, name)))
	}
	return dir
}

// vulnerabilities puts into a directory what docs/scan.md needs: a vulnerability
// database of today, and a VEX document.
func vulnerabilities(t *testing.T, dir string) {
	t.Helper()
	db, err := vulndbtest.Build(t.TempDir(), time.Now(), vulndbtest.Records{Debian: []vulndbtest.Record{
		{ID: "CVE-2026-0001", Package: "nginx", Fixed: "99", Severity: "High"},
	}})
	require.NoError(t, err)
	require.NoError(t, os.Rename(db.Archive, filepath.Join(dir, "vulnerability-db.tar.zst")))
	none, err := vulndbtest.Build(t.TempDir(), time.Now(), harmless)
	require.NoError(t, err)
	require.NoError(t, os.Rename(none.Archive, filepath.Join(dir, "harmless-db.tar.zst")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "nginx.openvex.json"), []byte(`{"@context": "https://openvex.dev/ns/v0.2.0",
		"@id": "https://example.com/vex", "author": "Ada", "timestamp": "2026-04-01T00:00:00Z", "version": 1,
		"statements": [{"vulnerability": {"name": "CVE-2026-0001"}, "products": [{"@id": "pkg:oci/nginx"}], "status": "not_affected",
		"justification": "vulnerable_code_not_in_execute_path"}]}`), 0o644))
}

// shellCommands returns the commands in the sh blocks of a Markdown text, without
// comments and with continued lines joined.
func shellCommands(text string) []string {
	var commands []string
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(text, -1) {
		joined := strings.ReplaceAll(block[1], "\\\n", " ")
		for line := range strings.Lines(joined) {
			line, _, _ = strings.Cut(line, " #")
			if line = strings.TrimSpace(line); line != "" {
				commands = append(commands, line)
			}
		}
	}
	return commands
}
