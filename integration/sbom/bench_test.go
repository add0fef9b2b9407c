package sbom

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/catalogue"
	"github.com/temper-images/temper/client/imagefs"
	"github.com/temper-images/temper/client/sbom"
	"github.com/temper-images/temper/client/subject"
)

// BenchmarkSBOM is the evidence of what an image is made of, from its layout to
// both documents, and its parts.
func BenchmarkSBOM(b *testing.B) {
	dir, err := hardened()
	require.NoError(b, err)
	set, err := subject.Open(b.Context(), dir, subject.Options{})
	require.NoError(b, err)
	defer set.Close()
	img := set.Images[0]
	report, err := img.Report(b.Context())
	require.NoError(b, err)
	facts := sbom.Facts{
		Subject:   sbom.Subject{Name: img.Name, Digest: img.Digest, Platform: img.Platform},
		Hardening: report, Epoch: img.Created,
	}
	index := func(b *testing.B) *imagefs.FS {
		fsys, err := imagefs.Open(b.Context(), img.Image, imagefs.Options{})
		require.NoError(b, err)
		return fsys
	}
	b.Run("index", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			require.NoError(b, index(b).Close())
		}
	})
	b.Run("index, catalogue, two documents", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			fsys := index(b)
			s, err := catalogue.Image(b.Context(), img.Image, fsys, catalogue.Options{Reference: img.Name})
			require.NoError(b, err)
			_, err = sbom.Artifacts(s, facts, sbom.Options{})
			require.NoError(b, err)
			require.NoError(b, fsys.Close())
		}
	})
	fsys := index(b)
	defer fsys.Close()
	s, err := catalogue.Image(b.Context(), img.Image, fsys, catalogue.Options{Reference: img.Name})
	require.NoError(b, err)
	for _, format := range sbom.Formats() {
		b.Run(format, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := sbom.Artifacts(s, facts, sbom.Options{Formats: []string{format}})
				require.NoError(b, err)
			}
		})
	}
}
