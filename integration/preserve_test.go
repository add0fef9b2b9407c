package integration

import (
	"archive/tar"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/door"
	"github.com/temper-images/temper/integration/image"
)

// capability is security.capability with cap_net_bind_service=ep, in the
// encoding of capabilities(7), version 2.
const capability = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// capabilityRecord is the record of a layer's archive that holds it.
const capabilityRecord = "SCHILY.xattr.security.capability"

// Whatever kind of entry an image can hold arrives in the hardened layer as it
// was: an archive is added, hardened, and compared with the layer's entries.
func TestMetadataIsPreserved(t *testing.T) {
	// Repeated with the hardlink, since changing its owner again takes them away.
	capabilities := map[string]string{capabilityRecord: capability}
	at := time.Unix(1_600_000_000, 0)
	headers := []tar.Header{
		{Typeflag: tar.TypeDir, Name: "etc/", Mode: 0o755},
		{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644, Size: 4},
		{Typeflag: tar.TypeDir, Name: "srv/", Mode: 0o2775, Uid: 7, Gid: 8},
		{Typeflag: tar.TypeReg, Name: "srv/program", Mode: 0o751, Uid: 1, Gid: 2, Size: 5, PAXRecords: capabilities},
		{Typeflag: tar.TypeLink, Name: "srv/program-too", Linkname: "srv/program", Mode: 0o751, Uid: 1, Gid: 2, PAXRecords: capabilities},
		{Typeflag: tar.TypeSymlink, Name: "srv/link", Linkname: "../srv/program", Mode: 0o777, Uid: 3, Gid: 4},
		{Typeflag: tar.TypeSymlink, Name: "srv/dangling", Linkname: "/nowhere/at/all", Mode: 0o777},
		{Typeflag: tar.TypeChar, Name: "srv/null", Mode: 0o666, Devmajor: 1, Devminor: 3},
		{Typeflag: tar.TypeFifo, Name: "srv/fifo", Mode: 0o600, Uid: 9},
		{Typeflag: tar.TypeReg, Name: "srv/name with \u00fc and\ttab", Mode: 0o400, Size: 1},
		{Typeflag: tar.TypeReg, Name: "srv/holes", Mode: 0o644, Size: 8 << 20},
		{Typeflag: tar.TypeDir, Name: "srv/empty/", Mode: 0o1777},
	}
	archive := filepath.Join(t.TempDir(), "rootfs.tar")
	f, err := os.Create(archive)
	require.NoError(t, err)
	w := tar.NewWriter(f)
	for _, h := range headers {
		h.ModTime, h.Format = at, tar.FormatPAX
		require.NoError(t, w.WriteHeader(&h))
		_, err := w.Write(make([]byte, h.Size))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, f.Close())
	// A base image, since ADD does not restore file capabilities.
	layer, err := tarball.LayerFromFile(archive)
	require.NoError(t, err)
	base, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH})
	require.NoError(t, err)
	base, err = mutate.AppendLayers(base, layer)
	require.NoError(t, err)
	dir := t.TempDir()
	_, err = layout.Write(dir, mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: base}))
	require.NoError(t, err)
	digest, err := base.Digest()
	require.NoError(t, err)

	img := build(t, temper(), door.Build{
		Context:  contextDir(t, map[string]string{"Dockerfile": "FROM base\nUSER 1000\n"}),
		Contexts: map[string]string{"base": "oci-layout://" + dir + "@" + digest.String()},
	})
	files, err := img.Files()
	require.NoError(t, err)
	for _, h := range headers {
		name := "/" + filepath.Clean(h.Name)
		got, ok := files[name]
		if !ok {
			t.Errorf("%s is missing", name)
			continue
		}
		h.ModTime = at
		if diff := cmp.Diff(entryOf(h), entryOf(got.Header)); diff != "" {
			t.Errorf("%s changed (-before +after):\n%s", name, diff)
		}
	}
	require.Len(t, image.Paths(files), len(headers), "nothing else came in: %q", image.Paths(files))
}

// properties are what must survive, whatever the archive's own form is.
type properties struct {
	Type         byte
	Mode         int64
	UID, GID     int
	Size         int64
	Link         string
	Major, Minor int64
	ModTime      int64
	Capability   string
}

func entryOf(h tar.Header) properties {
	p := properties{
		Type: h.Typeflag, Mode: h.Mode & 0o7777, UID: h.Uid, GID: h.Gid, Size: h.Size, Link: h.Linkname,
		Major: h.Devmajor, Minor: h.Devminor, ModTime: h.ModTime.Unix(), Capability: h.PAXRecords[capabilityRecord],
	}
	if h.Typeflag == tar.TypeLink {
		// Only the inode has more properties than a name.
		return properties{Type: h.Typeflag, Link: h.Linkname}
	}
	return p
}
