package examine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/catalogue/cataloguetest"
	"github.com/temper-images/temper/client/examine/examinetest"
	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/signing"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/hardening/spec"
)

func subjectOf(t *testing.T, img v1.Image, err error) *subject.Image {
	t.Helper()
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "app.oci")
	require.NoError(t, examinetest.Layout(dir, img, nil))
	set, err := subject.Open(t.Context(), dir, subject.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, set.Close()) })
	return set.Images[0]
}

func open(t *testing.T, img v1.Image, err error) *Image {
	t.Helper()
	out, err := Open(t.Context(), subjectOf(t, img, err), Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, out.Close()) })
	return out
}

func TestOpen(t *testing.T) {
	img, err := examinetest.After()
	i := open(t, img, err)
	require.Equal(t, []Package{
		{"deb", "dash", "0.5.12-2", "amd64"}, {"deb", "libfoo1", "3.0.1-2", "amd64"}, {"deb", "server", "1.22-1", "amd64"},
	}, i.Packages)
	owner := func(p string) string {
		e, ok := i.Files.Lookup(p)
		require.True(t, ok, p)
		if o := i.Owners(e); len(o) > 0 {
			return o[0].Name
		}
		return ""
	}
	// dpkg says /bin/sh, which lies in /usr/bin and is a link.
	require.Equal(t, "dash", owner("/usr/bin/sh"))
	require.Equal(t, "server", owner("/usr/bin/server"))
	require.Empty(t, owner("/etc/passwd"))

	kinds, err := i.Kinds(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]Kind{"/usr/bin/server": Program, "/usr/bin/chsh": Program, "/usr/lib/libfoo.so.1.2": Library}, kinds)
	totals := i.Totals(kinds)
	require.Equal(t, 3, totals.Packages)
	require.Equal(t, 2, totals.Executables)
	require.Equal(t, 1, totals.Libraries)
	require.Zero(t, totals.SetUID)
	name, ok := i.LookPath("server")
	require.True(t, ok)
	require.Equal(t, "/usr/bin/server", name)
	_, ok = i.LookPath("nothing")
	require.False(t, ok)
}

func TestFollow(t *testing.T) {
	img, err := cataloguetest.Of([]cataloguetest.File{
		{Name: "bin", Symlink: "usr/bin"}, {Name: "usr/bin/sh", Symlink: "dash"}, {Name: "usr/bin/dash", Data: "x"},
		{Name: "up", Symlink: "../../../usr/bin"}, {Name: "gone", Symlink: "/usr/none"}, {Name: "a", Symlink: "b"}, {Name: "b", Symlink: "a"},
	})
	i := open(t, img, err)
	for _, tc := range []struct {
		path, at string
		links    int
		there    bool
	}{
		{"/usr/bin/dash", "/usr/bin/dash", 0, true},
		{"bin/sh", "/usr/bin/dash", 2, true},
		{"/up/dash", "/usr/bin/dash", 1, true},
		{"/bin/../bin/sh", "/usr/bin/dash", 2, true},
		{"/gone/x", "/usr/none/x", 1, false},
		{"/usr/bin/dash/x", "/usr/bin/dash/x", 0, false},
		{"/", "/", 0, false},
	} {
		links, at, e, err := i.Follow(tc.path)
		require.NoError(t, err, tc.path)
		require.Len(t, links, tc.links, tc.path)
		require.Equal(t, tc.at, at, tc.path)
		require.Equal(t, tc.there, e != nil, tc.path)
	}
	_, _, _, err = i.Follow("/a/x")
	var loop *LoopError
	require.ErrorAs(t, err, &loop)
}

func TestCancelled(t *testing.T) {
	img, err := examinetest.After()
	s := subjectOf(t, img, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	cancel(stop)
	_, err = Open(ctx, s, Options{})
	require.ErrorIs(t, err, stop)
}

func TestRemovals(t *testing.T) {
	r := NewRemovals(examinetest.Report(spec.LevelExclusive))
	for path, want := range map[string][2]string{
		"/usr/bin/gpgv":            {"gpgv", ""},
		"/usr/share/doc":           {"/usr/share/doc", ""},
		"/usr/share/doc/any/thing": {"/usr/share/doc", "/usr/share/doc/"},
		"/usr/share/doct":          {"", ""},
		"/":                        {"", ""},
	} {
		g, below, ok := r.Find(path)
		require.Equal(t, want[0] != "", ok, path)
		require.Equal(t, want[1], below, path)
		if ok {
			require.Equal(t, want[0], g.Name, path)
		}
	}
	_, _, ok := NewRemovals(nil).Find("/x")
	require.False(t, ok)
}

// beside is what a release put beside an image.
type beside struct {
	manifests []referrer.Manifest
	blobs     map[digest.Digest][]byte
	// read are the blobs that were asked for.
	read []digest.Digest
}

func (b *beside) Manifest(_ context.Context, ref string) (ocispecs.Descriptor, []byte, error) {
	for _, m := range b.manifests {
		if ref == m.Tag && ref != "" || ref == m.Descriptor.Digest.String() {
			return m.Descriptor, m.Data, nil
		}
	}
	return ocispecs.Descriptor{}, nil, fmt.Errorf("%s: %w", ref, registry.ErrNotFound)
}

func (b *beside) Blob(_ context.Context, d ocispecs.Descriptor) (io.ReadCloser, error) {
	b.read = append(b.read, d.Digest)
	return io.NopCloser(bytes.NewReader(b.blobs[d.Digest])), nil
}

func (b *beside) Referrers(context.Context, digest.Digest) ([]ocispecs.Descriptor, error) {
	var list []ocispecs.Descriptor
	for _, m := range b.manifests {
		if m.Tag == "" {
			list = append(list, m.Descriptor)
		}
	}
	return list, nil
}

// A release publishes the report beside the image, as a bundle and under a tag of
// Cosign's.
func TestReportBesideTheImage(t *testing.T) {
	img, err := examinetest.After()
	s := subjectOf(t, img, err)
	pair, err := signing.Generate("ecdsa-p256", []byte("secret"))
	require.NoError(t, err)
	prefix := filepath.Join(t.TempDir(), "k")
	require.NoError(t, pair.Write(prefix))
	signer, err := signing.Open(t.Context(), signing.Options{Key: prefix + ".key", Password: func(context.Context) ([]byte, error) { return []byte("secret"), nil }})
	require.NoError(t, err)
	defer signer.Close()
	h, err := img.Digest()
	require.NoError(t, err)
	st, err := examinetest.Statement(h, examinetest.Report(spec.LevelMinimal))
	require.NoError(t, err)
	other, err := examinetest.Statement(v1.Hash{Algorithm: "sha256", Hex: digest.FromString("x").Encoded()}, &spec.Report{})
	require.NoError(t, err)
	var signed []referrer.Signed
	for _, dt := range [][]byte{
		other, st, bytes.Replace(st, []byte(spec.PredicateType), []byte("https://cyclonedx.org/bom"), 1),
	} {
		one, err := referrer.Attest(t.Context(), signer, dt)
		require.NoError(t, err)
		signed = append(signed, one)
	}
	desc := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest, Digest: s.Digest}
	for name, f := range map[string]referrer.Formats{"bundle": {Bundle: true}, "tag": {Cosign: true}, "both": {}} {
		made, err := referrer.Manifests(desc, signed, referrer.Existing{}, time.Unix(0, 0), f)
		require.NoError(t, err)
		src := &beside{manifests: made, blobs: map[digest.Digest][]byte{}}
		for _, m := range made {
			for _, b := range m.Blobs {
				src.blobs[b.Descriptor.Digest] = b.Data
			}
		}
		r, err := Report(t.Context(), s, func() (referrer.Source, error) { return src, nil })
		require.NoError(t, err, name)
		require.NotNil(t, r, name)
		require.Equal(t, spec.LevelMinimal, r.Level, name)
		if name != "tag" {
			require.Len(t, src.read, 2, "only what can be a report is read")
		}
	}

	// A report that the build attached needs no registry.
	dir := filepath.Join(t.TempDir(), "app.oci")
	require.NoError(t, examinetest.Layout(dir, img, examinetest.Report(spec.LevelExclusive)))
	set, err := subject.Open(t.Context(), dir, subject.Options{})
	require.NoError(t, err)
	defer set.Close()
	r, err := Report(t.Context(), set.Images[0], func() (referrer.Source, error) { return nil, errors.New("asked") })
	require.NoError(t, err)
	require.Equal(t, spec.LevelExclusive, r.Level)

	for _, none := range []func() (referrer.Source, error){
		nil,
		func() (referrer.Source, error) { return &beside{}, nil },
		func() (referrer.Source, error) { return nil, fmt.Errorf("x: %w", registry.ErrNotFound) },
	} {
		r, err = Report(t.Context(), s, none)
		require.NoError(t, err)
		require.Nil(t, r)
	}
	_, err = Report(t.Context(), s, func() (referrer.Source, error) { return nil, errors.New("down") })
	require.ErrorContains(t, err, "look for a hardening report beside sha256:")
}
