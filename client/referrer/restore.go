package referrer

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

// promisedMediaType is the media type of a bundle v0.1, the only one in which an
// entry of a log needs no more proof than the log's promise.
const promisedMediaType = "application/vnd.dev.sigstore.bundle+json;version=0.1"

// bundle says in a bundle what a layer says: its bytes are signed, its annotations
// say by whom.
func (l layer) bundle() (*protobundle.Bundle, error) {
	b := &protobundle.Bundle{MediaType: BundleMediaType, VerificationMaterial: &protobundle.VerificationMaterial{}}
	e, kind, err := l.entry()
	if err != nil {
		return nil, err
	}
	if e != nil {
		b.MediaType = promisedMediaType
		b.VerificationMaterial.TlogEntries = []*protorekor.TransparencyLogEntry{e}
	}
	if err := l.signer(b.VerificationMaterial); err != nil {
		return nil, err
	}
	if err := l.timestamp(b.VerificationMaterial); err != nil {
		return nil, err
	}
	if l.mediaType == envelopeMediaType {
		err = l.envelope(b)
	} else {
		err = l.message(b, kind.Spec.Data.Hash.Algorithm)
	}
	return b, err
}

// marshal writes a bundle as JSON, the same bytes each time: the library puts in
// blanks by chance.
func marshal(b *protobundle.Bundle) ([]byte, error) {
	loose, err := protojson.Marshal(b)
	if err != nil {
		return nil, err
	}
	var tight bytes.Buffer
	if err := json.Compact(&tight, loose); err != nil {
		return nil, err
	}
	return tight.Bytes(), nil
}

// digests are how the log's entries and bundles call what was signed.
var digests = map[string]struct {
	hash crypto.Hash
	name protocommon.HashAlgorithm
}{
	"":       {crypto.SHA256, protocommon.HashAlgorithm_SHA2_256},
	"sha256": {crypto.SHA256, protocommon.HashAlgorithm_SHA2_256},
	"sha384": {crypto.SHA384, protocommon.HashAlgorithm_SHA2_384},
	"sha512": {crypto.SHA512, protocommon.HashAlgorithm_SHA2_512},
}

// message is the signature of a simple signing document.
func (l layer) message(b *protobundle.Bundle, algorithm string) error {
	signature, err := base64.StdEncoding.DecodeString(l.annotations[annotationSignature])
	if err != nil || len(signature) == 0 {
		return fmt.Errorf("its annotation %s is no signature in base64", annotationSignature)
	}
	d, ok := digests[algorithm]
	if !ok {
		return fmt.Errorf("its entry in the transparency log has a digest of the kind %.20q", algorithm)
	}
	h := d.hash.New()
	h.Write(l.data)
	b.Content = &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
		MessageDigest: &protocommon.HashOutput{Algorithm: d.name, Digest: h.Sum(nil)},
		Signature:     signature,
	}}
	return nil
}

// envelope is an attestation (DSSE, envelope.md).
func (l layer) envelope(b *protobundle.Bundle) error {
	var e struct {
		Payload, PayloadType string
		Signatures           []struct{ KeyID, Sig string }
	}
	if err := json.Unmarshal(l.data, &e); err != nil {
		return fmt.Errorf("it is no DSSE envelope: %w", err)
	}
	if len(e.Signatures) != 1 {
		return fmt.Errorf("its envelope has %d signatures, and has to have one", len(e.Signatures))
	}
	payload, err := decode(e.Payload)
	if err != nil {
		return fmt.Errorf("the payload of its envelope: %w", err)
	}
	signature, err := decode(e.Signatures[0].Sig)
	if err != nil {
		return fmt.Errorf("the signature of its envelope: %w", err)
	}
	b.Content = &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
		PayloadType: e.PayloadType, Payload: payload,
		Signatures: []*protodsse.Signature{{Sig: signature, Keyid: e.Signatures[0].KeyID}},
	}}
	return nil
}

// decode reads either kind of base64, as DSSE demands.
func decode(s string) ([]byte, error) {
	data, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		if data, err = base64.URLEncoding.DecodeString(s); err != nil {
			return nil, errors.New("it is not in base64")
		}
	}
	return data, nil
}

// signer says whose signature it is: a certificate's, or some key's.
func (l layer) signer(material *protobundle.VerificationMaterial) error {
	text := l.annotations[annotationCertificate]
	if text == "" {
		material.Content = &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{}}
		return nil
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return fmt.Errorf("its annotation %s is no certificate in PEM", annotationCertificate)
	}
	certificate := &protocommon.X509Certificate{RawBytes: block.Bytes}
	if len(material.TlogEntries) > 0 {
		// Before v0.3 there is but the chain.
		material.Content = &protobundle.VerificationMaterial_X509CertificateChain{
			X509CertificateChain: &protocommon.X509CertificateChain{Certificates: []*protocommon.X509Certificate{certificate}}}
	} else {
		material.Content = &protobundle.VerificationMaterial_Certificate{Certificate: certificate}
	}
	return nil
}

func (l layer) timestamp(material *protobundle.VerificationMaterial) error {
	said := l.annotations[annotationTimestamp]
	if said == "" {
		return nil
	}
	var s stamp
	if err := json.Unmarshal([]byte(said), &s); err != nil {
		return fmt.Errorf("its annotation %s: %w", annotationTimestamp, err)
	}
	if len(s.SignedRFC3161Timestamp) > 0 {
		material.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: s.SignedRFC3161Timestamp}}}
	}
	return nil
}

// kind is what matters of the body of a log's entry.
type kind struct {
	APIVersion string
	Kind       string
	Spec       struct {
		Data struct {
			Hash struct{ Algorithm string }
		}
	}
}

// known are the kinds of entries that bundles may have.
var known = map[string]bool{"hashedrekord/0.0.1": true, "dsse/0.0.1": true, "intoto/0.0.2": true}

// entry is what the layer says of a transparency log. It is nil when it says nothing,
// or names an entry of a kind that bundles cannot have: such a signature counts as
// not logged.
func (l layer) entry() (*protorekor.TransparencyLogEntry, kind, error) {
	said := l.annotations[annotationEntry]
	if said == "" || said == "null" {
		return nil, kind{}, nil
	}
	wrong := func(err error) error { return fmt.Errorf("its annotation %s: %w", annotationEntry, err) }
	var e entry
	if err := json.Unmarshal([]byte(said), &e); err != nil {
		return nil, kind{}, wrong(err)
	}
	id, err := hex.DecodeString(e.Payload.LogID)
	if err != nil {
		return nil, kind{}, wrong(errors.New("the log's identifier is not hexadecimal"))
	}
	var k kind
	if err := json.Unmarshal(e.Payload.Body, &k); err != nil {
		return nil, kind{}, wrong(fmt.Errorf("the entry: %w", err))
	}
	if !known[k.Kind+"/"+k.APIVersion] || len(e.SignedEntryTimestamp) == 0 {
		return nil, kind{}, nil
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex:          e.Payload.LogIndex,
		LogId:             &protocommon.LogId{KeyId: id},
		KindVersion:       &protorekor.KindVersion{Kind: k.Kind, Version: k.APIVersion},
		IntegratedTime:    e.Payload.IntegratedTime,
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: e.SignedEntryTimestamp},
		CanonicalizedBody: e.Payload.Body,
	}, k, nil
}
