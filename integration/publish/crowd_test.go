package publish

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// Several releases of one image at the same time, by signers who know nothing of
// each other: what each of them wrote is there in the end.
func TestReleasesAtOnce(t *testing.T) {
	const rounds, signers = 2, 2
	for _, start := range []func(*testing.T) server{dockerRegistry, listing} {
		s := start(t)
		t.Run(s.name, func(t *testing.T) {
			var keys []Key
			var files []string
			for range signers {
				private, key := newKey(t)
				files, keys = append(files, private), append(keys, key)
			}
			rec := record(t, s, Rules{Key: Either(keys...), Crowded: true})
			for round := range rounds {
				repository := fmt.Sprint("crowd/", round)
				img := newImage(t, repository)
				var group errgroup.Group
				for i, file := range files {
					r := &Release{Image: img, Tags: []string{fmt.Sprintf("%s/%s:by-%d", rec.Addr, repository, i)}, Key: file,
						Journal: t.TempDir(), Attest: predicates, Retry: impatient}
					group.Go(func() error {
						_, err := r.Run(t.Context())
						return err
					})
				}
				require.NoError(t, group.Wait())
				r := Read(t.Context(), s.host, repository)
				for i, key := range keys {
					requireOnce(t, r, key, img, fmt.Sprint("by-", i), len(predicates))
				}
			}
		})
	}
}

// A second signer adds to what is there; and whoever releases again adds nothing.
func TestSecondSigner(t *testing.T) {
	for _, start := range []func(*testing.T) server{dockerRegistry, listing} {
		s := start(t)
		t.Run(s.name, func(t *testing.T) {
			first, firstKey := newKey(t)
			second, secondKey := newKey(t)
			rec := record(t, s, Rules{Key: Either(firstKey, secondKey)})
			img := newImage(t, "signed twice")
			for _, file := range []string{first, second, first, second} {
				r := &Release{Image: img, Tags: []string{rec.Addr + "/second:1"}, Key: file, Attest: predicates, Retry: impatient}
				_, err := r.Run(t.Context())
				require.NoError(t, err)
			}
			r := Read(t.Context(), s.host, "second")
			requireOnce(t, r, firstKey, img, "1", len(predicates))
			requireOnce(t, r, secondKey, img, "1", len(predicates))
		})
	}
}

// What a tag names stays, and "latest" is never written.
func TestTagsStay(t *testing.T) {
	s := dockerRegistry(t)
	private, key := newKey(t)
	rec := record(t, s, Rules{Key: key})
	img, other := newImage(t, "one"), newImage(t, "two")
	release := func(img *Image, tag string, move bool) error {
		r := &Release{Image: img, Tags: []string{rec.Addr + "/stay:" + tag}, Key: private, MoveTags: move, Retry: impatient}
		_, err := r.Run(t.Context())
		return err
	}
	require.NoError(t, release(img, "1", false))
	require.ErrorContains(t, release(other, "1", false), "names another image")
	require.ErrorContains(t, release(other, "latest", false), "latest")
	r := Read(t.Context(), s.host, "stay")
	require.Equal(t, img.Top.Digest, r.Digest("1"))
	require.Empty(t, r.Digest(other.Top.Digest.String()), "nothing of the refused one is there")
	require.False(t, slices.Contains(r.Tags(), "latest"))
	require.NoError(t, r.Err)
}
