package report

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// issuer is the extension of Fulcio's certificates that names who vouched for the
// identity (sigstore/fulcio, docs/oid-info.md, "Issuer (V2)").
var issuer = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}

// readBundle reads what a Sigstore bundle says of its signer (protobuf-specs,
// sigstore_bundle.proto, in its JSON form).
func readBundle(data []byte) (*Bundle, error) {
	type certificate struct {
		Raw []byte `json:"rawBytes"`
	}
	var doc struct {
		MediaType string `json:"mediaType"`
		Material  struct {
			PublicKey *struct {
				Hint string `json:"hint"`
			} `json:"publicKey"`
			Certificate *certificate `json:"certificate"`
			Chain       *struct {
				Certificates []certificate `json:"certificates"`
			} `json:"x509CertificateChain"`
			Log        []json.RawMessage `json:"tlogEntries"`
			Timestamps struct {
				RFC3161 []json.RawMessage `json:"rfc3161Timestamps"`
			} `json:"timestampVerificationData"`
		} `json:"verificationMaterial"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(doc.MediaType, "application/vnd.dev.sigstore.bundle") {
		return nil, fmt.Errorf("its media type is %.100q", doc.MediaType)
	}
	m := doc.Material
	b := &Bundle{Logged: len(m.Log) > 0, Timestamped: len(m.Timestamps.RFC3161) > 0}
	switch {
	case m.Certificate != nil:
		return b, b.signer(m.Certificate.Raw)
	case m.Chain != nil && len(m.Chain.Certificates) > 0:
		return b, b.signer(m.Chain.Certificates[0].Raw)
	case m.PublicKey != nil:
		b.Hint = m.PublicKey.Hint
		return b, nil
	}
	return nil, errors.New("it has neither a certificate nor a key")
}

func (b *Bundle) signer(raw []byte) error {
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		return fmt.Errorf("its certificate: %w", err)
	}
	switch {
	case len(cert.URIs) > 0:
		b.Identity = cert.URIs[0].String()
	case len(cert.EmailAddresses) > 0:
		b.Identity = cert.EmailAddresses[0]
	default:
		b.Identity = cert.Subject.String()
	}
	for _, e := range cert.Extensions {
		if e.Id.Equal(issuer) {
			// What is no string of ASN.1 leaves the issuer empty.
			_, _ = asn1.Unmarshal(e.Value, &b.Issuer)
		}
	}
	return nil
}
