package build

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/errdefs"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	"github.com/temper-images/temper/client/builder"
	"github.com/temper-images/temper/client/daemon"
	"github.com/temper-images/temper/client/ocilayout"
)

// TestMain lets the test binary be the supervisor of the daemon that the tests
// share, and the program that runs inside their builds.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "daemon" {
		if err := daemon.Main(context.Background(), os.Args[2:], os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if filepath.Base(os.Args[0]) == "step" {
		os.Exit(step(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// step is what RUN instructions of the tests run.
func step(args []string) int {
	switch args[0] {
	case "sleep":
		time.Sleep(time.Hour)
	case "fill":
		f, err := os.Create("/big")
		if err == nil {
			_, err = io.CopyN(f, rand.Reader, 64<<20)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	case "secret":
		dt, err := os.ReadFile("/run/secrets/s")
		if err != nil || string(dt) != "confidential" {
			fmt.Fprintln(os.Stderr, "secret:", string(dt), err)
			return 1
		}
	case "fail":
		return 3
	}
	return 0
}

func daemonConfig(t *testing.T, state string) daemon.Config {
	t.Helper()
	bin, err := filepath.Abs("../../bin")
	require.NoError(t, err)
	if _, err := os.Stat(filepath.Join(bin, "buildkitd")); err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	return daemon.Config{StateDir: state, BinDirs: []string{bin}}
}

func find(t *testing.T, state string) *builder.Builder {
	t.Helper()
	b, err := builder.Find(t.Context(), builder.Options{Address: builder.Ephemeral, Daemon: daemonConfig(t, state)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close(context.Background())) })
	return b
}

// contextWith makes a context of a Dockerfile and files; the program "step" is
// there too.
func contextWith(t *testing.T, dockerfile string, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "app")
	require.NoError(t, os.Mkdir(dir, 0o755))
	writeFiles(t, dir, files)
	if dockerfile != "" {
		writeFiles(t, dir, map[string]string{"Dockerfile": dockerfile})
	}
	if strings.Contains(dockerfile, "step") {
		exe, err := os.ReadFile(os.Args[0])
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "step"), exe, 0o755))
	}
	return dir
}

const helloDockerfile = "FROM scratch\nCOPY hello /\n"

// readLayout returns the manifest of the only image in a layout, and checks that
// the layout is complete.
func readLayout(t *testing.T, dir string) (ocispecs.Descriptor, ocispecs.Manifest) {
	t.Helper()
	l, err := ocilayout.Open(dir)
	require.NoError(t, err)
	defer l.Close()
	desc, err := l.Resolve("")
	require.NoError(t, err)
	var m ocispecs.Manifest
	require.NoError(t, l.ReadJSON(desc, &m))
	for _, d := range append(m.Layers, m.Config) {
		_, err := l.Store().Info(t.Context(), d.Digest)
		require.NoError(t, err)
	}
	return desc, m
}

func TestRun(t *testing.T) {
	b := find(t, t.TempDir())
	t.Run("default output", func(t *testing.T) {
		dir := contextWith(t, "FROM scratch\nCOPY . /\n", map[string]string{"hello": "hi"})
		t.Chdir(dir)
		var digests []string
		for range 2 {
			res, err := Run(t.Context(), b, Request{Frontend: stock, Tags: []string{"example.com/app:7"}})
			require.NoError(t, err)
			require.Equal(t, []string{"app.oci"}, res.Written)
			desc, m := readLayout(t, "app.oci")
			require.Equal(t, res.Digest(), desc.Digest.String())
			require.Equal(t, "7", desc.Annotations[ocispecs.AnnotationRefName])
			require.Equal(t, []string{"Dockerfile", "app.oci", "hello"}, names(t, dir))
			digests = append(digests, m.Layers[0].Digest.String())
		}
		require.Equal(t, digests[0], digests[1], "the output of the first build is no input of the second")
	})
	t.Run("a failed build leaves the old image", func(t *testing.T) {
		dir := contextWith(t, "FROM scratch\nCOPY step /\nRUN [\"/step\", \"fail\"]\n", nil)
		out := filepath.Join(t.TempDir(), "out")
		writeFiles(t, out, oldLayout)
		_, err := Run(t.Context(), b, Request{Frontend: stock, Context: dir, Outputs: []string{out}})
		require.ErrorContains(t, err, "exit code: 3")
		require.Len(t, errdefs.Sources(err), 1, "the error points to a line of the Dockerfile")
		require.FileExists(t, filepath.Join(out, "old"))
		require.Equal(t, []string{"out"}, names(t, filepath.Dir(out)))
	})
	t.Run("stdin", func(t *testing.T) {
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		for name, dt := range map[string]string{"Dockerfile": helloDockerfile, "hello": "from tar"} {
			require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Size: int64(len(dt)), Mode: 0o644}))
			_, err := w.Write([]byte(dt))
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		for _, in := range []string{archive.String(), "FROM scratch\nLABEL a=b\n"} {
			out := filepath.Join(t.TempDir(), "out")
			_, err := Run(t.Context(), b, Request{Frontend: stock, Context: "-", Stdin: strings.NewReader(in), Outputs: []string{out}})
			require.NoError(t, err)
			readLayout(t, out)
		}
	})
	t.Run("several outputs and a named context", func(t *testing.T) {
		base := filepath.Join(t.TempDir(), "base")
		_, err := Run(t.Context(), b, Request{Frontend: stock, Context: contextWith(t, helloDockerfile, map[string]string{"hello": "base"}), Outputs: []string{base}})
		require.NoError(t, err)
		dir := contextWith(t, "FROM base\nCOPY more /\n", map[string]string{"more": "more"})
		out := t.TempDir()
		var stdout bytes.Buffer
		res, err := Run(t.Context(), b, Request{
			Frontend: stock, Context: dir, Contexts: []string{"base=oci-layout://" + base}, Stdout: &stdout,
			Outputs: []string{filepath.Join(out, "layout"), "type=oci,dest=" + filepath.Join(out, "image.tar"), "type=local,dest=" + filepath.Join(out, "files"), "-"},
		})
		require.NoError(t, err)
		require.Len(t, res.Written, 3)
		_, m := readLayout(t, filepath.Join(out, "layout"))
		require.Len(t, m.Layers, 2)
		for name, want := range map[string]string{"hello": "base", "more": "more"} {
			dt, err := os.ReadFile(filepath.Join(out, "files", name))
			require.NoError(t, err)
			require.Equal(t, want, string(dt))
		}
		file, err := os.ReadFile(filepath.Join(out, "image.tar"))
		require.NoError(t, err)
		require.NotEmpty(t, file)
		_, err = tar.NewReader(&stdout).Next()
		require.NoError(t, err)
		require.Equal(t, []string{"blobs", "index.json", "oci-layout"}, names(t, base), "nothing was written into the layout that was read")
	})
	t.Run("secret", func(t *testing.T) {
		dir := contextWith(t, "FROM scratch\nCOPY step /\nRUN --mount=type=secret,id=s [\"/step\", \"secret\"]\n", map[string]string{"s": "confidential"})
		_, err := Run(t.Context(), b, Request{Frontend: stock, Context: dir, Secrets: []string{"id=s,src=" + filepath.Join(dir, "s")}, Outputs: []string{"type=cacheonly"}})
		require.NoError(t, err)
	})
	t.Run("epoch", func(t *testing.T) {
		t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
		var got []digest.Digest
		for i := range 2 {
			dir := contextWith(t, helloDockerfile, map[string]string{"hello": "same"})
			when := time.Now().Add(time.Duration(i) * time.Hour)
			require.NoError(t, os.Chtimes(filepath.Join(dir, "hello"), when, when))
			out := filepath.Join(t.TempDir(), "out")
			_, err := Run(t.Context(), b, Request{Frontend: stock, Context: dir, NoCache: true, Outputs: []string{out}})
			require.NoError(t, err)
			desc, _ := readLayout(t, out)
			got = append(got, desc.Digest)
		}
		require.Equal(t, got[0], got[1])
	})
	t.Run("local cache", func(t *testing.T) {
		cache := filepath.Join(t.TempDir(), "cache")
		dir := contextWith(t, helloDockerfile, map[string]string{"hello": "cached"})
		for range 2 {
			_, err := Run(t.Context(), b, Request{Frontend: stock, Context: dir, Outputs: []string{"type=cacheonly"},
				CacheTo: []string{"type=local,mode=max,dest=" + cache}, CacheFrom: []string{"type=local,src=" + cache}})
			require.NoError(t, err)
		}
		require.FileExists(t, filepath.Join(cache, "index.json"))
	})
	t.Run("call", func(t *testing.T) {
		dir := contextWith(t, "from scratch\nCOPY hello /\n", map[string]string{"hello": ""})
		call, err := ParseCall("check")
		require.NoError(t, err)
		res, err := Run(t.Context(), b, Request{Frontend: stock, Context: dir, Call: call})
		require.NoError(t, err)
		var out bytes.Buffer
		code, err := call.Print(&out, res)
		require.NoError(t, err)
		require.Equal(t, 1, code)
		require.Contains(t, out.String(), "1 warning has been found")
		require.Contains(t, out.String(), filepath.Join(dir, "Dockerfile")+":1")
		require.Equal(t, []string{"Dockerfile", "hello"}, names(t, dir), "a question writes nothing")
	})
	t.Run("push by digest", func(t *testing.T) {
		var mu sync.Mutex
		var manifests []string
		reg := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
				mu.Lock()
				manifests = append(manifests, r.URL.Path)
				mu.Unlock()
			}
			reg.ServeHTTP(w, r)
		}))
		defer srv.Close()
		name := strings.TrimPrefix(srv.URL, "http://") + "/app"
		dir := contextWith(t, helloDockerfile, map[string]string{"hello": "pushed"})
		res, err := Run(t.Context(), b, Request{Frontend: stock, Context: dir, Tags: []string{name + ":1"}, Outputs: []string{"type=image,push=true"}})
		require.NoError(t, err)
		require.Equal(t, []string{"/v2/app/manifests/" + res.Digest()}, manifests, "no tag was pushed")
	})
	t.Run("into a Docker engine", func(t *testing.T) {
		host, loaded := dockerEngine(t)
		t.Setenv("DOCKER_HOST", host)
		dir := contextWith(t, helloDockerfile, map[string]string{"hello": "loaded"})
		res, err := Run(t.Context(), b, Request{Frontend: stock, Context: dir, Tags: []string{"app:1"}, Outputs: []string{"type=docker"}})
		require.NoError(t, err)
		require.Equal(t, []string{"Loaded image: app:1"}, res.Messages)
		found := map[string]bool{}
		for tr := tar.NewReader(bytes.NewReader(*loaded)); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			found[h.Name] = true
		}
		require.True(t, found["manifest.json"])
	})
	t.Run("without a Docker engine", func(t *testing.T) {
		t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(t.TempDir(), "none"))
		dir := contextWith(t, helloDockerfile, map[string]string{"hello": ""})
		_, err := Run(t.Context(), b, Request{Frontend: stock, Context: dir, Outputs: []string{"type=docker"}})
		require.ErrorContains(t, err, "type=docker,dest=FILE")
	})
	t.Run("two layout directories", func(t *testing.T) {
		dir := contextWith(t, helloDockerfile, map[string]string{"hello": ""})
		out := t.TempDir()
		_, err := Run(t.Context(), b, Request{Frontend: stock, Context: dir, Outputs: []string{out + "/a", out + "/b"}})
		require.ErrorContains(t, err, "type=oci,dest=FILE")
		require.Empty(t, names(t, out))
	})
	t.Run("concurrent builds", func(t *testing.T) {
		dir := contextWith(t, helloDockerfile, map[string]string{"hello": "both"})
		out := filepath.Join(t.TempDir(), "out")
		errs := make(chan error)
		for range 3 {
			go func() {
				_, err := Run(t.Context(), b, Request{Frontend: stock, Context: dir, Outputs: []string{out}})
				errs <- err
			}()
		}
		for range 3 {
			require.NoError(t, <-errs)
		}
		readLayout(t, out)
		require.Equal(t, []string{"out"}, names(t, filepath.Dir(out)))
	})
	t.Run("cancelled in a long step", func(t *testing.T) {
		dir := contextWith(t, "FROM scratch\nCOPY step /\nRUN [\"/step\", \"sleep\"]\n", nil)
		out := filepath.Join(t.TempDir(), "out")
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := errors.New("that is enough")
		status := make(chan *bkclient.SolveStatus)
		go func() {
			for s := range status {
				for _, v := range s.Vertexes {
					if strings.Contains(v.Name, "sleep") && v.Started != nil {
						cancel(stop)
					}
				}
			}
		}()
		_, err := Run(ctx, b, Request{Frontend: stock, Context: dir, Outputs: []string{out}, Status: status})
		require.ErrorIs(t, err, stop)
		require.Empty(t, names(t, filepath.Dir(out)))
	})
}

func dockerEngine(t *testing.T) (host string, loaded *[]byte) {
	t.Helper()
	loaded = new([]byte)
	path := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.48")
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/info"):
			io.WriteString(w, `{"DriverStatus":[["Backing Filesystem","extfs"]]}`)
		case strings.HasSuffix(r.URL.Path, "/images/load"):
			dt, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			*loaded = dt
			io.WriteString(w, `{"stream":"Loaded image: app:1\n"}`)
		}
	})}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return "unix://" + path, loaded
}

// smallDisk mounts a file system of the given size.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Cleanup(func() {
		out, err := exec.Command("umount", dir).CombinedOutput()
		require.NoError(t, err, "%s", out)
	})
	return dir
}

func TestFullDiskOfTheOutput(t *testing.T) {
	b := find(t, t.TempDir())
	disk := smallDisk(t, "4m")
	big := make([]byte, 8<<20)
	_, err := rand.Read(big)
	require.NoError(t, err)
	dir := contextWith(t, "FROM scratch\nCOPY big /\n", map[string]string{"big": string(big)})
	for _, output := range []string{filepath.Join(disk, "out"), "type=oci,dest=" + filepath.Join(disk, "out.tar")} {
		_, err := Run(t.Context(), b, Request{Frontend: stock, Context: dir, Outputs: []string{output}})
		require.ErrorContains(t, err, "the disk of the output")
		require.ErrorContains(t, err, "no space left on device")
		require.Empty(t, names(t, disk), "nothing is left of the output")
	}
}

func TestFullDiskOfTheBuilder(t *testing.T) {
	state := smallDisk(t, "40m")
	b := find(t, filepath.Join(state, "temper"))
	dir := contextWith(t, "FROM scratch\nCOPY step /\nRUN [\"/step\", \"fill\"]\n", nil)
	out := filepath.Join(t.TempDir(), "out")
	_, err := Run(t.Context(), b, Request{Frontend: stock, Context: dir, Outputs: []string{out}})
	require.ErrorContains(t, err, "the disk of the builder")
	require.Empty(t, names(t, filepath.Dir(out)))
}
