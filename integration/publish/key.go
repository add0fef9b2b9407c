package publish

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	digest "github.com/opencontainers/go-digest"
)

// Key verifies signatures of ECDSA keys by Go's own cryptography, without any of the
// libraries that make them.
type Key struct{ public []*ecdsa.PublicKey }

// Either accepts the signatures of any of these.
func Either(keys ...Key) Key {
	var all Key
	for _, k := range keys {
		all.public = append(all.public, k.public...)
	}
	return all
}

// ParseKey reads a public key in PEM.
func ParseKey(text []byte) (Key, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return Key{}, errors.New("read a public key: it is no PEM")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return Key{}, fmt.Errorf("read a public key: %w", err)
	}
	public, ok := parsed.(*ecdsa.PublicKey)
	if !ok {
		return Key{}, fmt.Errorf("read a public key: it is %T", parsed)
	}
	return Key{[]*ecdsa.PublicKey{public}}, nil
}

func (k Key) verify(data []byte, signature string) error {
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	for _, public := range k.public {
		if ecdsa.VerifyASN1(public, sum[:], raw) {
			return nil
		}
	}
	return errors.New("the signature is not this key's")
}

// Payload verifies the signature, in base64, of a simple signing document about an
// image.
func (k Key) Payload(document []byte, signature string, image digest.Digest) error {
	var claim struct {
		Critical struct {
			Image struct {
				Digest digest.Digest `json:"docker-manifest-digest"`
			} `json:"image"`
			Type string `json:"type"`
		} `json:"critical"`
	}
	if err := json.Unmarshal(document, &claim); err != nil {
		return err
	}
	if claim.Critical.Image.Digest != image {
		return fmt.Errorf("it is about %s", claim.Critical.Image.Digest)
	}
	if claim.Critical.Type != "cosign container image signature" {
		return fmt.Errorf("its type is %q", claim.Critical.Type)
	}
	return k.verify(document, signature)
}

// Bundle verifies a Sigstore bundle around a statement about a subject, and says
// what the statement's predicate is.
func (k Key) Bundle(bundle []byte, subject digest.Digest) (predicateType string, err error) {
	var b struct {
		MediaType string `json:"mediaType"`
		Envelope  *struct {
			Type       string `json:"payloadType"`
			Payload    []byte `json:"payload"`
			Signatures []struct {
				Sig string `json:"sig"`
			} `json:"signatures"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(bundle, &b); err != nil {
		return "", err
	}
	if !strings.HasPrefix(b.MediaType, "application/vnd.dev.sigstore.bundle.v0.3") || b.Envelope == nil || len(b.Envelope.Signatures) != 1 {
		return "", fmt.Errorf("it is no bundle with one signed envelope, but %q", b.MediaType)
	}
	// DSSE v1, protocol.md, "Signature Definition".
	signed := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(b.Envelope.Type), b.Envelope.Type, len(b.Envelope.Payload), b.Envelope.Payload)
	if err := k.verify(signed, b.Envelope.Signatures[0].Sig); err != nil {
		return "", err
	}
	var statement struct {
		Subject []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
		PredicateType string `json:"predicateType"`
	}
	if err := json.Unmarshal(b.Envelope.Payload, &statement); err != nil {
		return "", err
	}
	for _, s := range statement.Subject {
		if s.Digest[string(subject.Algorithm())] == subject.Encoded() {
			return statement.PredicateType, nil
		}
	}
	return "", errors.New("it is about something else")
}
