package frontend

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/frontend/dockerfile/builder"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"

	"github.com/temper-images/temper/frontend/config"
	"github.com/temper-images/temper/frontend/image"
	"github.com/temper-images/temper/hardening/spec"
	"github.com/temper-images/temper/llbgraph"
)

const twoStages = `ARG TAG=bookworm
FROM debian:$TAG AS build
ARG VERSION=1
RUN echo $VERSION > /x
FROM debian:$TAG AS runtime
RUN apt-get install -y nginx
COPY --from=build /x /x
COPY . /srv
HEALTHCHECK CMD curl localhost
VOLUME /data
ENTRYPOINT ["nginx"]
`

// TestOffIsStock proves that a build with hardening off asks the daemon for
// exactly what BuildKit's own Dockerfile frontend asks for, and gives the same
// result.
func TestOffIsStock(t *testing.T) {
	for name, opts := range map[string]map[string]string{
		"plain":          {},
		"target":         {"target": "build"},
		"build arg":      {"build-arg:VERSION": "2", "build-arg:TAG": "trixie"},
		"label":          {"label:a": "b"},
		"no cache":       {"no-cache": ""},
		"cache import":   {"cache-imports": `[{"Type":"registry","Attrs":{"ref":"r.test/x"}}]`},
		"platforms":      {"platform": "linux/amd64,linux/arm64"},
		"one platform":   {"platform": "linux/arm64", "multi-platform": "true"},
		"epoch":          {"build-arg:SOURCE_DATE_EPOCH": "1700000000"},
		"SBOM":           {"attest:sbom": "generator=scanner.test/s", "build-arg:BUILDKIT_SBOM_SCAN_STAGE": "true"},
		"wrong target":   {"target": "nothing"},
		"outline":        {"requestid": "frontend.outline"},
		"targets":        {"requestid": "frontend.targets"},
		"check":          {"requestid": "frontend.lint"},
		"convert":        {"requestid": "frontend.dockerfile.convertllb"},
		"describe":       {"requestid": "frontend.subrequests.describe"},
		"no such call":   {"requestid": "frontend.nothing"},
		"caps":           {"frontend.caps": "moby.buildkit.frontend.inputs+forward,moby.buildkit.frontend.contexts"},
		"no such cap":    {"frontend.caps": "moby.buildkit.frontend.nothing"},
		"named context":  {"context:debian:bookworm": "docker-image://other.test/base:1"},
		"a stage's name": {"context:build": "docker-image://other.test/base:1"},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"Dockerfile": twoStages, ".dockerignore": "*.tmp\n"}
			stock, ours := newGateway(t, files), newGateway(t, files)
			ours.locals = stock.locals
			stock.opts, ours.opts = maps.Clone(opts), maps.Clone(opts)
			ours.opts["build-arg:TEMPER_HARDEN_LEVEL"] = "off"

			want, wantErr := builder.Build(t.Context(), stock)
			got, gotErr := Build(t.Context(), ours)
			if (wantErr == nil) != (gotErr == nil) || wantErr != nil && wantErr.Error() != gotErr.Error() {
				t.Fatalf("stock error %v, ours %v", wantErr, gotErr)
			}
			if diff := cmp.Diff(sources(wantErr), sources(gotErr)); diff != "" {
				t.Errorf("error locations: -stock +ours\n%s", diff)
			}
			if diff := cmp.Diff(stock.solves, ours.solves, cmpopts.SortSlices(lessSolve)); diff != "" {
				t.Errorf("solves: -stock +ours\n%s", diff)
			}
			if diff := cmp.Diff(stock.resolves, ours.resolves, cmpopts.SortSlices(strings.Compare)); diff != "" {
				t.Errorf("resolved images: -stock +ours\n%s", diff)
			}
			if diff := cmp.Diff(stock.warnings, ours.warnings); diff != "" {
				t.Errorf("warnings: -stock +ours\n%s", diff)
			}
			if wantErr == nil {
				if diff := cmp.Diff(texts(want.Metadata), texts(got.Metadata)); diff != "" {
					t.Errorf("metadata: -stock +ours\n%s", diff)
				}
				if len(want.Attestations) != len(got.Attestations) || len(want.Refs) != len(got.Refs) {
					t.Errorf("stock %d attestations %d refs, ours %d and %d", len(want.Attestations), len(want.Refs), len(got.Attestations), len(got.Refs))
				}
			}
		})
	}
}

func lessSolve(a, b solved) bool {
	return strings.Join(append(a.Names, string(slices.Concat(a.Def...))), "\n") < strings.Join(append(b.Names, string(slices.Concat(b.Def...))), "\n")
}

func texts(m map[string][]byte) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		out[k] = string(v)
	}
	return out
}

// sources lists where an error points: "temper.yaml:3".
func sources(err error) []string {
	var out []string
	for _, s := range errdefs.Sources(err) {
		for _, r := range s.Ranges {
			out = append(out, s.Info.Filename+" "+r.String())
		}
	}
	return out
}

// TestHarden looks at all that a hardened build gives.
func TestHarden(t *testing.T) {
	g := newGateway(t, map[string]string{"Dockerfile": twoStages, "temper.yaml": "harden:\n  keep: [/etc/x]\n"})
	g.opts = map[string]string{
		"platform":                     "linux/amd64,linux/arm64",
		"cache-imports":                `[{"Type":"registry","Attrs":{"ref":"r.test/x"}}]`,
		"build-arg:SOURCE_DATE_EPOCH":  "1700000000",
		"build-arg:TEMPER_HARDEN_DOCS": "keep", "build-arg:TEMPER_HARDEN_BYTECODE": "remove",
		"attest:sbom": "generator=scanner.test/s",
	}
	res, err := Build(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"linux/amd64", "linux/arm64"} {
		var img dockerspec.DockerOCIImage
		if err := json.Unmarshal(res.Metadata[exptypes.ExporterImageConfigKey+"/"+id], &img); err != nil {
			t.Fatal(err)
		}
		if img.Config.User != "65532:65532" || !slices.Equal(img.Config.Entrypoint, []string{"nginx"}) || img.Config.Labels["base"] != "yes" || img.Config.Healthcheck == nil {
			t.Errorf("%s: config %+v", id, img.Config)
		}
		if len(img.History) != 1 || img.History[0].CreatedBy != "temper harden --level=exclusive" || img.History[0].Created != nil || len(img.RootFS.DiffIDs) != 0 || img.Created != nil {
			t.Errorf("%s: history %+v, rootfs %+v", id, img.History, img.RootFS)
		}
		if _, ok := res.Metadata[exptypes.ExporterImageBaseConfigKey+"/"+id]; ok {
			t.Errorf("%s: a base image is named, whose layers are gone", id)
		}
		if got := string(res.Metadata["source.date.epoch/"+id]); got != "1700000000" {
			t.Errorf("%s: epoch %q", id, got)
		}
		summary, err := spec.ReadReport(strings.NewReader(string(res.Metadata["temper.hardening.report/"+id])))
		if err != nil {
			t.Fatal(err)
		}
		if len(summary.Removed) != 1 || summary.Removed[0].Paths != nil {
			t.Errorf("%s: summary %+v", id, summary.Removed)
		}
		var kinds []string
		for _, a := range res.Attestations[id] {
			kinds = append(kinds, a.Kind.String()+" "+a.Path+" "+a.InToto.PredicateType)
		}
		want := []string{
			gwpb.AttestationKind_InToto.String() + " /hardening.intoto.json " + spec.PredicateType,
			gwpb.AttestationKind_Bundle.String() + "  https://spdx.dev/Document",
		}
		if diff := cmp.Diff(want, kinds); diff != "" {
			t.Errorf("%s: attestations -want +got\n%s", id, diff)
		}
	}
	for _, s := range g.solves {
		if slices.ContainsFunc(s.Names, func(n string) bool { return strings.Contains(n, "hardened") }) && len(s.Cache) != 1 {
			t.Errorf("solved with no cache import: %v", s.Names)
		}
		if slices.ContainsFunc(s.Names, func(n string) bool { return strings.Contains(n, "generating sbom") }) &&
			!slices.ContainsFunc(s.Names, func(n string) bool { return strings.Contains(n, "hardened 2/3") }) {
			t.Errorf("the SBOM is not of the hardened stage: %v", s.Names)
		}
		for _, dt := range s.Def {
			if strings.Contains(string(dt), "TEMPER_HARDEN") {
				t.Errorf("an override is in the graph: %q", dt)
			}
		}
	}
	for _, want := range []string{"[linux/amd64 hardened 2/3] prune, squash into one layer and check", "[linux/arm64 hardened 2/3] prune, squash into one layer and check"} {
		if !slices.Contains(g.names(), want) {
			t.Errorf("no step %q in %q", want, g.names())
		}
	}
	if s := settingsOf(t, g); !slices.Equal(s.Installed, []string{"nginx"}) || !slices.Equal(s.Keep, []string{"/etc/x"}) || !s.Docs || !s.Sources ||
		!slices.Equal(s.Image.Volumes, []string{"/data"}) || !slices.Equal(s.Image.Healthcheck, []string{"CMD-SHELL", "curl localhost"}) {
		t.Errorf("settings %+v", s)
	}
}

// settingsOf finds the settings that the helper was given.
func settingsOf(t *testing.T, g *gateway) spec.Settings {
	t.Helper()
	for _, s := range g.solves {
		for _, dt := range s.Def {
			if i := strings.Index(string(dt), "{\n  \"level\""); i >= 0 {
				var out spec.Settings
				if err := json.NewDecoder(strings.NewReader(string(dt[i:]))).Decode(&out); err != nil {
					t.Fatal(err)
				}
				return out
			}
		}
	}
	t.Fatal("no settings in the graph")
	return spec.Settings{}
}

// TestWhichStage says, for a Dockerfile and a target, whether it is hardened.
func TestWhichStage(t *testing.T) {
	const plain = "FROM debian AS a\nRUN x\nFROM debian AS b\nRUN y\n"
	const named = "FROM debian AS a\nRUN x\nFROM debian AS Hardened\nRUN y\nFROM debian\nRUN z\n"
	for _, tt := range []struct {
		name, dockerfile, target string
		want                     bool
	}{
		{"final", plain, "", true},
		{"final by name", plain, "B", true},
		{"other", plain, "a", false},
		{"hardened", plain, "hardened", true},
		{"final beside a stage of the name", named, "", false},
		{"stage of the name", named, "hardened", true},
		{"other beside a stage of the name", named, "a", false},
		{"unnamed final", "FROM debian\nRUN x", "", true},
		{"empty scratch", "FROM scratch\nENV a=b", "", false},
		{"comment for the linter", "FROM debian\n# check=skip=WorkdirRelativePath\nWORKDIR a\n", "", true},
		{"scratch with something", "FROM scratch\nCOPY Dockerfile /", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, map[string]string{"Dockerfile": tt.dockerfile})
			g.opts["target"] = tt.target
			if _, err := Build(t.Context(), g); err != nil {
				t.Fatal(err)
			}
			if got := slices.Contains(g.names(), "[hardened 2/3] prune, squash into one layer and check"); got != tt.want {
				t.Errorf("hardened: %v, steps %q", got, g.names())
			}
		})
	}
}

func TestConfigPlaces(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		opts  map[string]string
		env   []string
		want  string // the user
	}{
		{"nowhere", nil, nil, nil, "auto"},
		{"in the context", map[string]string{"temper.yaml": "harden: {user: 1}"}, nil, nil, "1"},
		{"ignored by .dockerignore", map[string]string{"temper.yaml": "harden: {user: 1}", ".dockerignore": "*"}, nil, nil, "1"},
		{"beside the Dockerfile", map[string]string{"d/e/temper.yaml": "harden: {user: 2}", "d/e/Dockerfile": twoStages}, map[string]string{"filename": "d/e/Dockerfile"}, nil, "2"},
		{"both", map[string]string{"temper.yaml": "harden: {user: 1}", "d/temper.yaml": "harden: {user: 2}", "d/Dockerfile": twoStages}, map[string]string{"filename": "d/Dockerfile"}, nil, "1"},
		{"over the environment", map[string]string{"temper.yaml": "harden: {user: 1}"}, nil, []string{"TEMPER_HARDEN_USER=3", "HOME=/"}, "1"},
		{"environment", nil, nil, []string{"TEMPER_HARDEN_USER=3"}, "3"},
		{"build argument", map[string]string{"temper.yaml": "harden: {user: 1}"}, map[string]string{"build-arg:TEMPER_HARDEN_USER": "4"}, []string{"TEMPER_HARDEN_USER=3"}, "4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{"Dockerfile": twoStages}
			maps.Copy(files, tt.files)
			g := newGateway(t, files)
			maps.Copy(g.opts, tt.opts)
			if _, err := (Frontend{Environ: tt.env}).Build(t.Context(), g); err != nil {
				t.Fatal(err)
			}
			if got := settingsOf(t, g).User; got != tt.want {
				t.Errorf("user %q, want %q", got, tt.want)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	type change func(*gateway)
	opt := func(k, v string) change { return func(g *gateway) { g.opts[k] = v } }
	file := func(name, text string) change {
		return func(g *gateway) {
			if err := os.WriteFile(filepath.Join(g.locals["context"], name), []byte(text), 0o644); err != nil {
				g.t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name    string
		change  change
		want    string
		sources string
	}{
		{"temper.yaml", file("temper.yaml", "harden:\n  level: x\n  docs: y\n"), `temper.yaml:2:10: harden.level: "x" is not known; allowed: off, exclusive, minimal`, "temper.yaml start:{line:3"},
		{"argument", opt("build-arg:TEMPER_HARDEN_LEVEL", "x"), `build argument TEMPER_HARDEN_LEVEL: harden.level: "x" is not known`, ""},
		{"argument in a check", func(g *gateway) { opt("build-arg:TEMPER_X", "x")(g); opt("requestid", "frontend.lint")(g) }, `build argument: "TEMPER_X" is not known`, ""},
		{"Windows", opt("platform", "windows/amd64"), "harden windows/amd64: only Linux images can be hardened", ""},
		{"no helper", func(g *gateway) { g.helper = nil }, "--build-context temper-helper=docker-image://IMAGE", ""},
		{"other syntax", file("Dockerfile", "# syntax=example.test/other:1\nFROM debian\nRUN x\n"), `asks for the frontend "example.test/other:1"`, "Dockerfile start:{line:1"},
		{"other syntax by argument", opt("build-arg:BUILDKIT_SYNTAX", "example.test/other:1 x"), `BUILDKIT_SYNTAX asks for the frontend "example.test/other:1"`, ""},
		{"Dockerfile", file("Dockerfile", "FROM debian\nRUN x\nNOTHING y\n"), "unknown instruction: NOTHING", "Dockerfile start:{line:3"},
		{"failed check", func(g *gateway) { g.report.Checks[0].Passed = false }, `the check "links" did not pass`, ""},
		{"no checks", func(g *gateway) { g.report.Checks = nil }, "holds no check", ""},
		{"broken promise", func(g *gateway) { g.failed = failedStep(65, llbgraph.HelperPath) }, "harden linux/amd64: the image cannot be hardened as asked; the log of the step says why and how to mend it: /temper-frontend: exit code: 65", ""},
		{"full disk", func(g *gateway) { g.failed = failedStep(74, llbgraph.HelperPath) }, "is the builder's disk full?", ""},
		{"the Dockerfile's own step", func(g *gateway) { g.failed = failedStep(65, "/bin/sh") }, "/bin/sh: exit code: 65", ""},
		{"a directory as temper.yaml", func(g *gateway) { _ = os.Mkdir(filepath.Join(g.locals["context"], "temper.yaml"), 0o755) }, "read temper.yaml: it is not a file", ""},
		{"large temper.yaml", file("temper.yaml", strings.Repeat("#", 2<<20)), "read temper.yaml: it has more than the 1048576 bytes allowed", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, map[string]string{"Dockerfile": twoStages})
			tt.change(g)
			res, err := Build(t.Context(), g)
			if err == nil || res != nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v\nwant   %s", err, tt.want)
			}
			if g.failed != nil && strings.HasPrefix(err.Error(), "harden ") != strings.Contains(err.Error(), llbgraph.HelperPath) {
				t.Errorf("whose fault is %v", err)
			}
			if got := strings.Join(sources(err), " "); !strings.HasPrefix(got, tt.sources) || tt.sources == "" && got != "" {
				t.Errorf("points at %q, want %q", got, tt.sources)
			}
		})
	}
}

// failedStep is the daemon's error for a program that failed.
func failedStep(code uint32, program string) error {
	return &errdefs.SolveError{
		Solve: &errdefs.Solve{Op: &pb.Op{Op: &pb.Op_Exec{Exec: &pb.ExecOp{Meta: &pb.Meta{Args: []string{program}}}}}},
		Err:   &gwpb.ExitError{ExitCode: code, Err: fmt.Errorf("%s: exit code: %d", program, code)},
	}
}

func TestSyntaxIsOurs(t *testing.T) {
	for syntax, want := range map[string]bool{
		"docker/dockerfile:1": true, "docker.io/docker/dockerfile-upstream:master-labs": true, "mirror.test:5000/hub/docker/dockerfile@sha256:" + strings.Repeat("a", 64): true,
		"dockerfile.v0": true, "registry.test/temper/frontend:1": true, "temper/frontend": true, "corp.test/copy:7": true,
		"foobar": false, "ghcr.io/x/frontend:1": false, "registry.test/nottemper/frontend": false,
	} {
		if got := speaks(syntax, "corp.test/copy:7"); got != want {
			t.Errorf("%s: %v", syntax, got)
		}
	}
}

func TestReportNone(t *testing.T) {
	g := newGateway(t, map[string]string{"Dockerfile": twoStages})
	g.opts["build-arg:TEMPER_HARDEN_REPORT"] = "none"
	res, err := Build(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Attestations) != 0 || len(res.Metadata["temper.hardening.report/linux/amd64"]) == 0 {
		t.Errorf("attestations %v", res.Attestations)
	}
}

func TestUserKeep(t *testing.T) {
	g := newGateway(t, map[string]string{"Dockerfile": twoStages + "USER root\n"})
	g.opts["build-arg:TEMPER_HARDEN_USER"] = "keep"
	res, err := Build(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	var img dockerspec.DockerOCIImage
	if err := json.Unmarshal(res.Metadata[exptypes.ExporterImageConfigKey], &img); err != nil {
		t.Fatal(err)
	}
	if img.Config.User != "root" {
		t.Errorf("user %q", img.Config.User)
	}
}

// TestHelperContext takes the helper from a named context where the frontend runs
// outside a container.
func TestHelperContext(t *testing.T) {
	g := newGateway(t, map[string]string{"Dockerfile": twoStages})
	g.helper = nil
	g.opts["context:temper-helper"] = "docker-image://registry.test/temper/frontend:1"
	if _, err := Build(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(g.names(), "[context temper-helper] registry.test/temper/frontend:1") {
		t.Errorf("steps %q", g.names())
	}
}

func TestWarningsOnce(t *testing.T) {
	g := newGateway(t, map[string]string{"Dockerfile": "FROM debian as x\nRUN x\n"})
	g.opts["platform"] = "linux/amd64,linux/arm64"
	if _, err := Build(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if len(g.warnings) != 1 || !strings.Contains(g.warnings[0], "FromAsCasing") {
		t.Errorf("warnings %q", g.warnings)
	}
	if want := []string{"docker.io/library/debian:latest linux/amd64", "docker.io/library/debian:latest linux/arm64"}; len(g.resolves) != len(want) {
		t.Errorf("resolved %q", g.resolves)
	}
}

// panics is a client that fails in the worst way.
type panics struct{ gwclient.Client }

func TestPanic(t *testing.T) {
	_, err := Build(t.Context(), panics{})
	var p *PanicError
	if !errors.As(err, &p) || !strings.Contains(err.Error(), "please report it") || !strings.Contains(string(p.Stack), "frontend") {
		t.Fatalf("error %v", err)
	}
}

// TestUpstream fails when the stock frontend's own Build changes, so that this
// one is reviewed against it.
func TestUpstream(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.Dir}}", "github.com/moby/buildkit/frontend/dockerfile/builder").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"build.go":        "f6c95d28c9ae60ccce7ce95995b2702552c3145c3b700ba43eaff15508d51a02",
		"caps.go":         "e8ea32280e03c71ab4e42848a4003b7b835307c8eb81fe4d27c46777fa202c05",
		"resolvecache.go": "99714ccb2ca829f3905c9f76544cd584ea46666e8da07ba5abfe89c55a94929d",
	} {
		dt, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), name))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(dt)
		if got := hex.EncodeToString(sum[:]); got != want {
			t.Errorf("upstream changed: frontend/dockerfile/builder/%s is %s, reviewed was %s; compare it with this package, then set the new sum", name, got, want)
		}
	}
}

// TestCaps compares what the frontend meets with what its image promises.
func TestCaps(t *testing.T) {
	if got := strings.Split(image.Labels["moby.buildkit.frontend.caps"], ","); !slices.Equal(got, Caps) {
		t.Errorf("the image's label says %q, the frontend %q", got, Caps)
	}
	if image.Program != llbgraph.HelperPath {
		t.Errorf("the program lies at %s, steps run %s", image.Program, llbgraph.HelperPath)
	}
}

// TestEffectiveConfig: a client that asks is told what temper.yaml and the
// overrides come to, also when nothing is hardened.
func TestEffectiveConfig(t *testing.T) {
	for _, level := range []string{"exclusive", "off"} {
		gw := newGateway(t, map[string]string{"Dockerfile": "FROM debian\n", "temper.yaml": "scan:\n  gate: warn\n  fixed: false\n"})
		gw.opts = map[string]string{config.EffectiveKey: "", "build-arg:TEMPER_SCAN_GRACE": "3", "build-arg:TEMPER_HARDEN_LEVEL": level}
		res, err := Build(t.Context(), gw)
		if err != nil {
			t.Fatal(err)
		}
		got, err := config.Decode(res.Metadata[config.EffectiveKey])
		if err != nil {
			t.Fatal(err)
		}
		want := config.Default()
		want.Harden.Level, want.Scan.Gate, want.Scan.Fixed, want.Scan.Grace = spec.Level(level), config.GateWarn, false, 3
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}

		gw = newGateway(t, map[string]string{"Dockerfile": "FROM debian\n"})
		gw.opts = map[string]string{"build-arg:TEMPER_HARDEN_LEVEL": level}
		if res, err = Build(t.Context(), gw); err != nil {
			t.Fatal(err)
		}
		if _, told := res.Metadata[config.EffectiveKey]; told {
			t.Error("told without being asked")
		}
	}
}
