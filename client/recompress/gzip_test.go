package recompress

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"

	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
)

// sample is data that compresses about as well as programs and text do.
func sample(size int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 1000)
	for i := range words {
		words[i] = fmt.Sprintf("%x ", r.Uint64N(1<<(4+r.IntN(40))))
	}
	var b bytes.Buffer
	for b.Len() < size {
		b.WriteString(words[r.IntN(1+r.IntN(len(words)))])
	}
	return b.Bytes()[:size]
}

func deflate(t testing.TB, data []byte, workers, piece int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b, workers)
	for len(data) > 0 {
		n := min(piece, len(data))
		written, err := w.Write(data[:n])
		require.NoError(t, err)
		require.Equal(t, n, written)
		data = data[n:]
	}
	require.NoError(t, w.Close())
	require.NoError(t, w.Close(), "a second time")
	return b.Bytes()
}

// The digest of an image follows from these. Where another version of the compressor
// changes them, the release notes say so.
var golden = map[int]string{
	0:                 "ac73670af3abed54ac6fb4695131f4099be9fbe39d6076c5d0264a6bbdae9d83",
	1:                 "b67310f9b970f643fce6694e7fa2e040f027fa5d1af857ec8f094cc6b8ee4563",
	blockSize:         "17ea187e3618153c4625bac9bb36b1726ef776cd63ded9a2e6e958d85766d46b",
	5*blockSize + 333: "e671854eecf3d6b36777e4580493cb65f742f93cf67169f849a513e7bc667f07",
}

func TestGolden(t *testing.T) {
	got := map[int]string{}
	for size := range golden {
		got[size] = digest.FromBytes(deflate(t, sample(size), 0, 32<<10)).Encoded()
	}
	require.Equal(t, golden, got)
}

// Neither the number of processors nor the way the data comes in shows in what comes
// out, and everybody can read it.
func TestWriter(t *testing.T) {
	for _, size := range []int{0, 1, windowSize, blockSize - 1, blockSize, blockSize + 1, 3*blockSize + 77} {
		data := sample(size)
		want := deflate(t, data, 1, 1<<20)
		for _, procs := range []int{1, 2, 5} {
			before := runtime.GOMAXPROCS(procs)
			for _, piece := range []int{32 << 10, 3 << 20} {
				require.True(t, bytes.Equal(want, deflate(t, data, 0, piece)), "%d bytes, %d processors, pieces of %d", size, procs, piece)
			}
			require.True(t, bytes.Equal(want, deflate(t, data, 7, 5000)))
			runtime.GOMAXPROCS(before)
		}
		r, err := gzip.NewReader(bytes.NewReader(want))
		require.NoError(t, err)
		require.True(t, r.ModTime.IsZero())
		require.Empty(t, r.Name)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, got), size)
		require.NoError(t, r.Close())
	}
}

type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errors.New("the disk is full")
	}
	return len(p), nil
}

func TestWriterFails(t *testing.T) {
	data := sample(20 * blockSize)
	for _, left := range []int{0, 100 << 10} {
		w := NewWriter(&failing{left}, 2)
		_, werr := w.Write(data)
		require.EqualError(t, errors.Join(werr, w.Close()), "the disk is full\nthe disk is full")
		require.EqualError(t, w.Close(), "the disk is full")
		_, err := w.Write(data)
		require.Error(t, err)
	}
	w := NewWriter(io.Discard, 2)
	_, err := w.Write(data)
	require.NoError(t, err)
	w.Abort()
	w.Abort()
	_, err = w.Write(data)
	require.Error(t, err)
}
