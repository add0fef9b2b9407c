package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// algorithm is one way in which a key of a kind is used to sign.
type algorithm struct {
	verifier signature.Verifier
	// hash is the digest that a bundle names beside the signature. It is what
	// was signed, but for Ed25519, which signs the message itself.
	hash  crypto.Hash
	proto protocommon.HashAlgorithm
}

var hashes = map[crypto.Hash]protocommon.HashAlgorithm{
	crypto.SHA256: protocommon.HashAlgorithm_SHA2_256,
	crypto.SHA384: protocommon.HashAlgorithm_SHA2_384,
	crypto.SHA512: protocommon.HashAlgorithm_SHA2_512,
}

// algorithms are the ways in which pub can have signed, the usual one first. Key
// management services choose among them by the key's settings, and clients have
// changed their minds: Cosign signed with SHA-256 on every curve once.
func algorithms(pub crypto.PublicKey) ([]algorithm, error) {
	details, err := signature.GetDefaultAlgorithmDetails(pub)
	if err != nil {
		return nil, fmt.Errorf("keys of this kind do not sign here: use ECDSA P-256, P-384 or P-521, Ed25519, or RSA with 2048, 3072 or 4096 bits: %w", err)
	}
	var all []algorithm
	var errs []error
	add := func(hash crypto.Hash, v signature.Verifier, err error) {
		all = append(all, algorithm{v, hash, hashes[hash]})
		errs = append(errs, err)
	}
	order := []crypto.Hash{details.GetHashType()}
	for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		if h != order[0] {
			order = append(order, h)
		}
	}
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		for _, h := range order {
			v, err := signature.LoadECDSAVerifier(pub, h)
			add(h, v, err)
		}
	case *rsa.PublicKey:
		for _, h := range order {
			v, err := signature.LoadRSAPKCS1v15Verifier(pub, h)
			add(h, v, err)
		}
		for _, h := range order {
			v, err := signature.LoadRSAPSSVerifier(pub, h, nil)
			add(h, v, err)
		}
	case ed25519.PublicKey:
		v, err := signature.LoadED25519Verifier(pub)
		add(crypto.SHA256, v, err)
		ph, err := signature.LoadED25519phVerifier(pub)
		add(crypto.SHA512, ph, err)
	}
	return all, errors.Join(errs...)
}

var errSignature = errors.New("the signature does not fit")

// match finds the algorithm by which sig signs data.
func match(all []algorithm, data, sig []byte) (algorithm, error) {
	for _, a := range all {
		if a.verifier.VerifySignature(bytes.NewReader(sig), bytes.NewReader(data)) == nil {
			return a, nil
		}
	}
	return algorithm{}, errSignature
}

// anyAlgorithm verifies signatures in each of the ways of a key.
type anyAlgorithm struct{ all []algorithm }

func (v anyAlgorithm) PublicKey(opts ...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return v.all[0].verifier.PublicKey(opts...)
}

func (v anyAlgorithm) VerifySignature(sig, message io.Reader, opts ...signature.VerifyOption) error {
	s, err := io.ReadAll(io.LimitReader(sig, maxSignature))
	if err != nil {
		return err
	}
	m, err := io.ReadAll(message)
	if err != nil {
		return err
	}
	var digest []byte
	for _, o := range opts {
		o.ApplyDigest(&digest)
	}
	for _, a := range v.all {
		var with []signature.VerifyOption
		if digest != nil {
			if len(digest) != a.hash.Size() {
				continue
			}
			with = append(with, options.WithDigest(digest))
		}
		if a.verifier.VerifySignature(bytes.NewReader(s), bytes.NewReader(m), with...) == nil {
			return nil
		}
	}
	return errSignature
}
