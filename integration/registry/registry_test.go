package registry

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"
)

func TestContentOutlivesTheRegistry(t *testing.T) {
	storage := t.TempDir()
	img, err := random.Image(1024, 2)
	require.NoError(t, err)
	want, err := img.Digest()
	require.NoError(t, err)

	r, err := Start(t.Context(), storage)
	require.NoError(t, err)
	ref, err := name.ParseReference(r.Host + "/a/b:tag")
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, img, remote.WithContext(t.Context())))
	require.NoError(t, r.Stop())

	r, err = Start(t.Context(), storage)
	require.NoError(t, err)
	defer r.Stop()
	ref, err = name.ParseReference(r.Host + "/a/b:tag")
	require.NoError(t, err)
	got, err := remote.Head(ref, remote.WithContext(t.Context()))
	require.NoError(t, err)
	if diff := cmp.Diff(want, got.Digest); diff != "" {
		t.Errorf("digest (-want +got):\n%s", diff)
	}
}
