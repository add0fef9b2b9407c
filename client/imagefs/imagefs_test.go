package imagefs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
)

// item is an entry of a test layer. A name that ends with a slash is a directory.
type item struct {
	name, data string
	symlink    string
	hardlink   string
	hdr        tar.Header
}

func pack(t testing.TB, items ...item) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, it := range items {
		h := it.hdr
		h.Name, h.ModTime = it.name, time.Unix(1700000000, 0)
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		switch {
		case it.symlink != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, it.symlink
		case it.hardlink != "":
			h.Typeflag, h.Linkname = tar.TypeLink, it.hardlink
		case h.Typeflag != 0:
		case strings.HasSuffix(it.name, "/"):
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		default:
			h.Typeflag, h.Size = tar.TypeReg, int64(len(it.data))
		}
		require.NoError(t, w.WriteHeader(&h))
		if h.Typeflag == tar.TypeReg {
			_, err := io.WriteString(w, it.data)
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	return buf.Bytes()
}

// testLayer is a layer whose archive is given.
type testLayer struct {
	v1.Layer // of the uncompressed archive
	stored   []byte
}

func (l testLayer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.stored)), nil
}
func (l testLayer) Size() (int64, error) { return int64(len(l.stored)), nil }

func compress(t testing.TB, how string, dt []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	var w io.WriteCloser
	switch how {
	case "gzip":
		w = gzip.NewWriter(&buf)
	case "zstd":
		var err error
		w, err = zstd.NewWriter(&buf)
		require.NoError(t, err)
	default:
		return dt
	}
	_, err := w.Write(dt)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return buf.Bytes()
}

func image(t testing.TB, how string, layers ...[]byte) v1.Image {
	t.Helper()
	img := empty.Image
	for _, dt := range layers {
		l := testLayer{static.NewLayer(dt, types.OCIUncompressedLayer), compress(t, how, dt)}
		var err error
		img, err = mutate.AppendLayers(img, l)
		require.NoError(t, err)
	}
	return img
}

func open(t testing.TB, o Options, how string, layers ...[]byte) *FS {
	t.Helper()
	f, err := Open(t.Context(), image(t, how, layers...), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

// listing shows the file system: a line for each entry.
func listing(t testing.TB, f *FS) string {
	t.Helper()
	var out strings.Builder
	for e := range f.Entries() {
		fmt.Fprintf(&out, "%s %s", e.Mode, e.Path)
		if e.Linkname != "" {
			fmt.Fprintf(&out, " -> %s", e.Linkname)
		}
		if e.Mode.IsRegular() {
			rc, err := f.Open(e.Path)
			require.NoError(t, err)
			dt, err := io.ReadAll(rc)
			require.NoError(t, err)
			require.NoError(t, rc.Close())
			fmt.Fprintf(&out, " %q", dt)
		}
		out.WriteByte('\n')
	}
	return out.String()
}

func TestMerge(t *testing.T) {
	wh := func(name string) item { return item{name: name} }
	for _, c := range []struct {
		name     string
		layers   [][]item
		want     string
		shadowed []string
	}{
		{
			name:   "one layer",
			layers: [][]item{{{name: "etc/"}, {name: "etc/a", data: "A"}, {name: "b", symlink: "etc/a"}, {name: "c", hardlink: "etc/a"}}},
			want: `Lrw-r--r-- /b -> etc/a
-rw-r--r-- /c -> /etc/a "A"
drwxr-xr-x /etc
-rw-r--r-- /etc/a "A"
`,
		},
		{
			name:     "replace",
			layers:   [][]item{{{name: "a", data: "1"}, {name: "d/x", data: "x"}}, {{name: "a", data: "2"}, {name: "d", data: "file"}}},
			want:     "-rw-r--r-- /a \"2\"\n-rw-r--r-- /d \"file\"\n",
			shadowed: []string{"/a", "/d/x"},
		},
		{
			name:     "a directory over a file",
			layers:   [][]item{{{name: "a", data: "1"}}, {{name: "a/b", data: "2"}}},
			want:     "drwxr-xr-x /a\n-rw-r--r-- /a/b \"2\"\n",
			shadowed: []string{"/a"},
		},
		{
			name:     "whiteout",
			layers:   [][]item{{{name: "a", data: "1"}, {name: "d/x", data: "x"}, {name: "d/y", data: "y"}}, {wh(".wh.a"), wh("d/.wh.x"), wh("d/.wh.none"), wh("no/.wh.such")}},
			want:     "drwxr-xr-x /d\n-rw-r--r-- /d/y \"y\"\n",
			shadowed: []string{"/a", "/d/x"},
		},
		{
			name:     "whiteout spares its own layer",
			layers:   [][]item{{{name: "d/x", data: "x"}, {name: "d/y", data: "y"}}, {{name: "d/x", data: "new"}, wh(".wh.d"), {name: "d/z", data: "z"}}},
			want:     "drwxr-xr-x /d\n-rw-r--r-- /d/x \"new\"\n-rw-r--r-- /d/z \"z\"\n",
			shadowed: []string{"/d/x", "/d/y"},
		},
		{
			name:     "opaque directory",
			layers:   [][]item{{{name: "d/"}, {name: "d/x/deep", data: "x"}, {name: "e", data: "e"}}, {{name: "d/new", data: "n"}, wh("d/.wh..wh..opq"), wh(".wh..wh.plnk")}},
			want:     "drwxr-xr-x /d\n-rw-r--r-- /d/new \"n\"\n-rw-r--r-- /e \"e\"\n",
			shadowed: []string{"/d/x/deep"},
		},
		{
			name:     "opaque root",
			layers:   [][]item{{{name: "a", data: "1"}}, {wh(".wh..wh..opq"), {name: "b", data: "2"}}},
			want:     "-rw-r--r-- /b \"2\"\n",
			shadowed: []string{"/a"},
		},
		{
			name:   "a hard link keeps what its target was",
			layers: [][]item{{{name: "a", data: "1"}}, {{name: "b", hardlink: "a"}}, {wh(".wh.a")}},
			want:   "-rw-r--r-- /b -> /a \"1\"\n", shadowed: []string{"/a"},
		},
		{
			name:   "names that point outside",
			layers: [][]item{{{name: "../../a", data: "1"}, {name: "/b", data: "2"}, {name: "./c/../d", data: "3"}, {name: "./"}, {name: ".."}}},
			want:   "-rw-r--r-- /a \"1\"\n-rw-r--r-- /b \"2\"\n-rw-r--r-- /d \"3\"\n",
		},
		{
			name:     "a name twice in a layer",
			layers:   [][]item{{{name: "a", data: "1"}, {name: "a", data: "2"}}},
			want:     "-rw-r--r-- /a \"2\"\n",
			shadowed: []string{"/a"},
		},
		{
			name:   "through a link of the same layer",
			layers: [][]item{{{name: "usr/lib/"}, {name: "lib", symlink: "usr/lib"}, {name: "lib/x", data: "x"}}},
			want: `Lrw-r--r-- /lib -> usr/lib
drwxr-xr-x /usr
drwxr-xr-x /usr/lib
-rw-r--r-- /usr/lib/x "x"
`,
		},
		{
			name:   "a directory over a link of a lower layer",
			layers: [][]item{{{name: "usr/lib/"}, {name: "lib", symlink: "usr/lib"}}, {{name: "lib/x", data: "x"}}},
			want: `drwxr-xr-x /lib
-rw-r--r-- /lib/x "x"
drwxr-xr-x /usr
drwxr-xr-x /usr/lib
`,
		},
		{
			name:   "devices and modes",
			layers: [][]item{{{name: "null", hdr: tar.Header{Typeflag: tar.TypeChar}}, {name: "su", data: "x", hdr: tar.Header{Mode: 0o4755}}, {name: "pipe", hdr: tar.Header{Typeflag: tar.TypeFifo}}}},
			want:   "Dcrw-r--r-- /null\nprw-r--r-- /pipe\nurwxr-xr-x /su \"x\"\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var layers [][]byte
			for _, l := range c.layers {
				layers = append(layers, pack(t, l...))
			}
			for _, how := range []string{"plain", "gzip", "zstd"} {
				f := open(t, Options{}, how, layers...)
				require.Equal(t, c.want, listing(t, f), how)
				var shadowed []string
				for e := range f.Shadowed() {
					shadowed = append(shadowed, e.Path)
					rc, err := f.OpenShadowed(e)
					require.NoError(t, err)
					dt, err := io.ReadAll(rc)
					require.NoError(t, err)
					require.Len(t, dt, int(e.Size))
				}
				require.Equal(t, c.shadowed, shadowed, how)
			}
		})
	}
}

func TestEntry(t *testing.T) {
	lower := pack(t, item{name: "a", data: "1"})
	upper := pack(t, item{name: "b", data: "22", hdr: tar.Header{
		Uid: 7, Gid: 8, PAXRecords: map[string]string{capability: "\x01\x02"},
	}}, item{name: "link", hardlink: "b"})
	f := open(t, Options{}, "gzip", lower, upper)
	b, ok := f.Lookup("/b")
	require.True(t, ok)
	require.Equal(t, 7, b.UID)
	require.Equal(t, 8, b.GID)
	require.EqualValues(t, 2, b.Size)
	require.Equal(t, []byte{1, 2}, b.Capabilities)
	require.Equal(t, f.Layers()[1], b.Layer)
	require.EqualValues(t, 1700000000, b.ModTime.Unix())
	link, ok := f.Lookup("/link")
	require.True(t, ok)
	require.True(t, link.IsHardLink())
	require.False(t, b.IsHardLink())
	require.True(t, link.SameContent(b))
	a, ok := f.Lookup("/a")
	require.True(t, ok)
	require.Equal(t, f.Layers()[0], a.Layer)
	require.False(t, a.SameContent(b))
	require.Equal(t, 3, f.Len())

	_, ok = f.Lookup("/c")
	require.False(t, ok)
	_, err := f.Open("/c")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestResolve(t *testing.T) {
	f := open(t, Options{}, "plain", pack(t,
		item{name: "usr/lib/x", data: "x"}, item{name: "lib", symlink: "usr/lib"},
		item{name: "abs", symlink: "/lib/x"}, item{name: "up", symlink: "../../../usr/lib/../lib/x"},
		item{name: "loop", symlink: "loop2"}, item{name: "loop2", symlink: "/loop"}, item{name: "gone", symlink: "nowhere"},
	))
	for name, want := range map[string]string{
		"/usr/lib/x": "/usr/lib/x", "/lib/x": "/usr/lib/x", "abs": "/usr/lib/x", "/up": "/usr/lib/x", "/lib": "/usr/lib",
		"/loop": "", "/loop/x": "", "/gone": "", "/": "", "/usr/lib/x/y": "",
	} {
		e, ok := f.Resolve(name)
		require.Equal(t, want != "", ok, name)
		if ok {
			require.Equal(t, want, e.Path, name)
		}
	}
}

// random is text and noise that fill several blocks.
func random(n int) string {
	rd := rand.New(rand.NewPCG(1, 2))
	out := make([]byte, n)
	for i := range out {
		if i/50000%2 == 0 {
			out[i] = byte(rd.Uint32())
		} else {
			out[i] = byte('a' + i%7)
		}
	}
	return string(out)
}

func TestReadAtRandom(t *testing.T) {
	big := random(5*blockSize + 77)
	exact := random(blockSize)
	layer := pack(t, item{name: "big", data: big}, item{name: "exact", data: exact}, item{name: "empty"}, item{name: "one", data: "1"})
	for name, o := range map[string]Options{
		"memory": {}, "file": {Memory: -1, TempDir: t.TempDir()}, "both": {Memory: segmentSize, TempDir: t.TempDir()},
	} {
		t.Run(name, func(t *testing.T) {
			l := layer
			if name == "both" {
				l = pack(t, item{name: "fill", data: random(segmentSize * 2)}, item{name: "big", data: big}, item{name: "exact", data: exact}, item{name: "empty"}, item{name: "one", data: "1"})
			}
			f := open(t, o, "gzip", l)
			if o.TempDir != "" {
				left, err := os.ReadDir(o.TempDir)
				require.NoError(t, err)
				require.Empty(t, left, "the temporary file has no name")
				require.NotNil(t, f.contents.file)
			}
			for path, want := range map[string]string{"/big": big, "/exact": exact, "/empty": "", "/one": "1"} {
				rc, err := f.Open(path)
				require.NoError(t, err)
				require.NoError(t, iotest.TestReader(rc, []byte(want)), path)
				require.NoError(t, rc.Close())
				_, err = rc.Read(make([]byte, 1))
				require.ErrorIs(t, err, fs.ErrClosed)

				rc, err = f.Open(path)
				require.NoError(t, err)
				var buf bytes.Buffer
				_, err = io.Copy(&buf, rc)
				require.NoError(t, err)
				require.Equal(t, want, buf.String())
			}
			var wg sync.WaitGroup
			e, _ := f.Lookup("/big")
			file, err := f.OpenEntry(e)
			require.NoError(t, err)
			for i := range 8 {
				wg.Go(func() {
					rd := rand.New(rand.NewPCG(uint64(i), 0))
					for range 200 {
						from := rd.IntN(len(big))
						p := make([]byte, rd.IntN(len(big)-from)/10)
						if n, err := file.ReadAt(p, int64(from)); err != nil || n != len(p) || string(p) != big[from:from+n] {
							t.Errorf("ReadAt %d+%d: %d, %v", from, len(p), n, err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestClosed(t *testing.T) {
	f, err := Open(t.Context(), image(t, "plain", pack(t, item{name: "a", data: "1"})), Options{})
	require.NoError(t, err)
	rc, err := f.Open("/a")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, f.Close())
	_, err = io.ReadAll(rc)
	require.ErrorIs(t, err, fs.ErrClosed)
}

// wrongID claims another diff ID for its layer.
type wrongID struct{ v1.Image }

func (w wrongID) ConfigFile() (*v1.ConfigFile, error) {
	cfg, err := w.Image.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.RootFS.DiffIDs[0].Hex = strings.Repeat("0", 64)
	return cfg, nil
}

func TestRefused(t *testing.T) {
	long := strings.Repeat("x", maxPath+1)
	deep := strings.Repeat("d/", 1500)
	zeros := string(make([]byte, 1<<20))
	for _, c := range []struct {
		name   string
		layers [][]item
		o      Options
		want   string
	}{
		{"hard link to nothing", [][]item{{{name: "a", hardlink: "b"}}}, Options{}, `entry "a": it is a hard link to "b": there is no such file`},
		{"hard link to itself", [][]item{{{name: "a", data: "1"}, {name: "a", hardlink: "a"}}}, Options{}, "that is itself"},
		{"hard link to a directory", [][]item{{{name: "d/"}, {name: "a", hardlink: "d"}}}, Options{}, "that is a directory"},
		{"hard link to the root", [][]item{{{name: "a", hardlink: "/"}}}, Options{}, "there is no such file"},
		{"below a file", [][]item{{{name: "a", data: "1"}, {name: "a/b", data: "2"}}}, Options{}, "/a is not a directory"},
		{"links in circles", [][]item{{{name: "a", symlink: "b"}, {name: "b", symlink: "a"}, {name: "a/x", data: "2"}}}, Options{}, "lead in circles"},
		{"link that grows", [][]item{{{name: "a", symlink: "a/" + strings.Repeat("x/", 1000)}, {name: "a/x", data: "2"}}}, Options{}, "longer than 4096 bytes"},
		{"long name", [][]item{{{name: long, data: "1"}}}, Options{}, "longer than 4096 bytes"},
		{"whiteout of nothing", [][]item{{{name: "d/.wh."}}}, Options{}, "a whiteout of no file"},
		{"whiteout of the directory", [][]item{{{name: "d/.wh..."}}, {{name: "d/.wh..."}}}, Options{}, "a whiteout of no file"},
		{"entries", [][]item{{{name: "a"}, {name: "b"}}, {{name: "c"}}}, Options{MaxEntries: 4}, "more than 4 entries"},
		{"directories", [][]item{{{name: deep + "a"}}}, Options{MaxEntries: 1000}, "more than 1000 entries"},
		{"bomb", [][]item{{{name: "a", data: zeros}}, {{name: "a", data: zeros}}}, Options{MaxSize: 1<<20 + 4096}, "more than 1052672 bytes unpacked"},
		{"bomb after the archive", [][]item{{{name: "a", data: zeros}}}, Options{MaxSize: 1 << 20}, "more than 1048576 bytes unpacked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var layers [][]byte
			for _, l := range c.layers {
				layers = append(layers, pack(t, l...))
			}
			_, err := Open(t.Context(), image(t, "gzip", layers...), c.o)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "layer sha256:")
		})
	}

	t.Run("another content", func(t *testing.T) {
		_, err := Open(t.Context(), wrongID{image(t, "gzip", pack(t, item{name: "a"}))}, Options{})
		var diff *DiffIDError
		require.ErrorAs(t, err, &diff)
		require.Contains(t, err.Error(), "and the image's configuration says sha256:0000")
	})
	t.Run("cut off", func(t *testing.T) {
		dt := pack(t, item{name: "a", data: random(1 << 20)})
		for _, how := range []string{"gzip", "zstd"} {
			l := testLayer{static.NewLayer(dt, types.OCILayer), compress(t, how, dt)}
			l.stored = l.stored[:len(l.stored)/2]
			img, err := mutate.AppendLayers(empty.Image, l)
			require.NoError(t, err)
			_, err = Open(t.Context(), img, Options{})
			require.ErrorIs(t, err, io.ErrUnexpectedEOF, how)
		}
	})
	t.Run("no archive", func(t *testing.T) {
		_, err := Open(t.Context(), image(t, "plain", []byte(strings.Repeat("no tar ", 200))), Options{})
		require.ErrorContains(t, err, "read its tar archive")
	})
	t.Run("sparse", func(t *testing.T) {
		_, err := Open(t.Context(), image(t, "plain", sparse(t, 1<<40)), Options{})
		var limit *LimitError
		require.ErrorAs(t, err, &limit)
	})
	t.Run("no room", func(t *testing.T) {
		_, err := Open(t.Context(), image(t, "plain", pack(t, item{name: "a", data: "1"})), Options{Memory: -1, TempDir: filepath.Join(t.TempDir(), "none")})
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.ErrorContains(t, err, "make a temporary file")
	})
}

// sparse is a layer with a file of size bytes that has no data (GNU tar, PAX
// sparse format 0.1).
func sparse(t testing.TB, size int64) []byte {
	t.Helper()
	var buf bytes.Buffer
	records := ""
	for _, kv := range [][2]string{{"GNU.sparse.major", "0"}, {"GNU.sparse.minor", "1"}, {"GNU.sparse.size", fmt.Sprint(size)}, {"GNU.sparse.numblocks", "0"}, {"GNU.sparse.map", ""}} {
		rest := " " + kv[0] + "=" + kv[1] + "\n"
		n := len(rest) + 1
		for len(fmt.Sprint(n))+len(rest) != n {
			n++
		}
		records += fmt.Sprint(n) + rest
	}
	block := func(name string, flag byte, size int) {
		h := make([]byte, 512)
		copy(h, name)
		copy(h[100:], "0000644\x000000000\x000000000\x00"+fmt.Sprintf("%011o\x0000000000000\x00", size))
		h[156] = flag
		copy(h[257:], "ustar\x0000")
		copy(h[148:], "        ")
		sum := 0
		for _, b := range h {
			sum += int(b)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		buf.Write(h)
	}
	block("pax", 'x', len(records))
	buf.WriteString(records)
	buf.Write(make([]byte, 512-len(records)%512))
	block("sparse", '0', 0)
	buf.Write(make([]byte, 1024))
	return buf.Bytes()
}

func TestSparse(t *testing.T) {
	f := open(t, Options{}, "gzip", sparse(t, 3<<20))
	rc, err := f.Open("/sparse")
	require.NoError(t, err)
	dt, err := io.ReadAll(rc)
	require.NoError(t, err)
	require.Equal(t, make([]byte, 3<<20), dt)
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	img := image(t, "plain", pack(t, item{name: "a", data: random(8 << 20)}))
	var seen []int64
	_, err := Open(ctx, img, Options{Progress: func(done, total int64) {
		seen = append(seen, done)
		require.Greater(t, total, int64(8<<20))
		if done > 3<<20 {
			cancel(stop)
		}
	}})
	require.ErrorIs(t, err, stop)
	require.True(t, slices.IsSorted(seen))
}

func TestProgressEndsAtTotal(t *testing.T) {
	for _, how := range []string{"plain", "gzip", "zstd"} {
		var last, sum int64
		f, err := Open(t.Context(), image(t, how, pack(t, item{name: "a", data: random(3 << 20)}), pack(t, item{name: "b"})), Options{
			Progress: func(done, total int64) { last, sum = done, total },
		})
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.Equal(t, sum, last, how)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(pack(f, item{name: "a/"}, item{name: "a/b", data: "1"}, item{name: "l", symlink: "a"}, item{name: "l/c", hardlink: "a/b"}), pack(f, item{name: ".wh.a"}, item{name: "a/.wh..wh..opq"}, item{name: "../x", data: "2"}))
	f.Add(compress(f, "gzip", pack(f, item{name: "a", data: "1"})), compress(f, "zstd", pack(f, item{name: "a", symlink: "a"}, item{name: "a/b"})))
	f.Add(sparse(f, 1<<30), []byte("x"))
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		img, err := mutate.AppendLayers(empty.Image, static.NewLayer(lower, types.OCILayer), static.NewLayer(upper, types.OCILayer))
		if err != nil {
			return
		}
		fsys, err := Open(t.Context(), anyDiffID{img}, Options{Memory: segmentSize, MaxSize: 1 << 20, MaxEntries: 1000, TempDir: os.TempDir()})
		var diff *DiffIDError
		if errors.As(err, &diff) {
			t.Fatal("the diff ID is right")
		}
		if err != nil {
			return
		}
		defer fsys.Close()
		last := ""
		for e := range fsys.Entries() {
			if e.Path <= last || !strings.HasPrefix(e.Path, "/") || filepath.Clean(e.Path) != e.Path {
				t.Fatalf("path %q after %q", e.Path, last)
			}
			last = e.Path
			dir := filepath.Dir(e.Path)
			if d, ok := fsys.Lookup(dir); dir != "/" && (!ok || !d.Mode.IsDir()) {
				t.Fatalf("%q is in no directory", e.Path)
			}
			if e.Mode.IsRegular() {
				rc, err := fsys.Open(e.Path)
				if err != nil {
					t.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, rc); err != nil || n != e.Size {
					t.Fatalf("read %q: %d of %d, %v", e.Path, n, e.Size, err)
				}
			}
			fsys.Resolve(e.Path)
		}
	})
}

// anyDiffID states the diff IDs that the layers really have.
type anyDiffID struct{ v1.Image }

func (a anyDiffID) ConfigFile() (*v1.ConfigFile, error) {
	layers, err := a.Layers()
	if err != nil {
		return nil, err
	}
	cfg := &v1.ConfigFile{RootFS: v1.RootFS{Type: "layers"}}
	for _, l := range layers {
		rc, err := l.Compressed()
		if err != nil {
			return nil, err
		}
		stored, err := io.ReadAll(rc)
		if err != nil {
			return nil, err
		}
		h, _, err := v1.SHA256(unpack(stored))
		if err != nil && h.Hex == "" {
			h.Algorithm, h.Hex = "sha256", strings.Repeat("0", 64) // it cannot be unpacked to its end
		}
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, h)
	}
	return cfg, nil
}

// unpack reads a layer as Open does, without its limits.
func unpack(stored []byte) io.Reader {
	switch {
	case bytes.HasPrefix(stored, gzipMagic):
		if zr, err := gzip.NewReader(bytes.NewReader(stored)); err == nil {
			return io.LimitReader(zr, 2<<20)
		}
	case bytes.HasPrefix(stored, zstdMagic), len(stored) >= 4 && stored[0]>>4 == 5 && bytes.Equal(stored[1:4], zstdSkippable):
		zr, err := zstd.NewReader(bytes.NewReader(stored), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err == nil {
			return io.LimitReader(zr, 2<<20)
		}
	}
	return bytes.NewReader(stored)
}

// atHand has layers as they are, uncompressed.
func atHand(layers ...[]byte) func(digest.Digest) *io.SectionReader {
	return func(d digest.Digest) *io.SectionReader {
		for _, dt := range layers {
			if digest.FromBytes(dt) == d {
				return io.NewSectionReader(bytes.NewReader(dt), 0, int64(len(dt)))
			}
		}
		return nil
	}
}

// A layer that is at hand uncompressed is read where it lies.
func TestUncompressed(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 3*blockSize/16) + "end"
	lower := pack(t, item{name: "a", data: "one"}, item{name: "b/long", data: long}, item{name: "empty"}, item{name: "gone", data: "x"})
	upper := pack(t, item{name: "b/" + whiteoutPrefix + "none"}, item{name: whiteoutPrefix + "gone"}, item{name: "a", data: "two"}, item{name: "hard", hardlink: "a"})
	want := listing(t, open(t, Options{}, "gzip", lower, upper))
	// There is no place to copy anything to.
	nowhere := Options{Memory: -1, TempDir: "/nonexistent", Uncompressed: atHand(lower, upper)}
	f := open(t, nowhere, "gzip", lower, upper)
	require.Equal(t, want, listing(t, f))
	rc, err := f.Open("/b/long")
	require.NoError(t, err)
	at := make([]byte, 20)
	_, err = rc.(io.ReaderAt).ReadAt(at, blockSize-10)
	require.NoError(t, err)
	require.Equal(t, long[blockSize-10:blockSize+10], string(at))
	require.NoError(t, f.Close())
	_, err = rc.(io.ReaderAt).ReadAt(at, 3*blockSize)
	require.ErrorIs(t, err, fs.ErrClosed)

	t.Run("sparse", func(t *testing.T) {
		dt := sparse(t, 3<<20)
		require.Equal(t, listing(t, open(t, Options{}, "gzip", dt)), listing(t, open(t, Options{Uncompressed: atHand(dt)}, "gzip", dt)))
	})
	t.Run("other content", func(t *testing.T) {
		o := Options{Uncompressed: func(digest.Digest) *io.SectionReader {
			return io.NewSectionReader(bytes.NewReader(upper), 0, int64(len(upper)))
		}}
		_, err := Open(t.Context(), image(t, "gzip", lower), o)
		var other *DiffIDError
		require.ErrorAs(t, err, &other)
	})
	t.Run("cut off", func(t *testing.T) {
		o := Options{Uncompressed: func(digest.Digest) *io.SectionReader {
			return io.NewSectionReader(bytes.NewReader(lower), 0, 3000)
		}}
		_, err := Open(t.Context(), image(t, "gzip", lower), o)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	})
}
