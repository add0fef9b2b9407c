package container

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// digester computes the digest of what is read through it.
type digester struct {
	r   io.Reader
	sum hash.Hash
}

func newDigester(r io.Reader) *digester {
	sum := sha256.New()
	return &digester{r: io.TeeReader(r, sum), sum: sum}
}

func (d *digester) Read(p []byte) (int, error) { return d.r.Read(p) }

// finish reads the rest, which a tar reader leaves behind the archive's end.
func (d *digester) finish() (v1.Hash, error) {
	if _, err := io.Copy(io.Discard, d.r); err != nil {
		return v1.Hash{}, err
	}
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(d.sum.Sum(nil))}, nil
}
