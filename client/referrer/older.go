package referrer

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/temper-images/temper/client/signing"
)

// Annotations of layers under Cosign's tags (Cosign, specs/SIGNATURE_SPEC.md).
const (
	annotationSignature   = "dev.cosignproject.cosign/signature"
	annotationCertificate = "dev.sigstore.cosign/certificate"
	annotationChain       = "dev.sigstore.cosign/chain"
	annotationEntry       = "dev.sigstore.cosign/bundle"
	annotationTimestamp   = "dev.sigstore.cosign/rfc3161timestamp"
	annotationType        = "predicateType"
)

// envelopeMediaType is that of an attestation under a tag: a DSSE envelope in JSON.
const envelopeMediaType = "application/vnd.dsse.envelope.v1+json"

// ErrNoOlderForm says that something signed cannot be told in the form of Cosign's
// tags.
var ErrNoOlderForm = errors.New("it has no form for Cosign's tags")

// OlderForm says why Manifests writes no older form of it: an error that wraps
// ErrNoOlderForm, or one about a bundle that cannot be read. Nil stands for that it
// does. A signature made with a key whose entry in a log of version 2 cannot be told
// is written without the entry.
func (s Signed) OlderForm() error {
	_, err := s.older()
	return err
}

// older is the layer under a tag.
func (s Signed) older() (layer, error) {
	if s.PredicateType != SignPredicate {
		b, err := parseBundle(s.Bundle)
		if err != nil {
			return layer{}, err
		}
		envelope := b.GetDsseEnvelope()
		if envelope == nil {
			return layer{}, errors.New("its bundle has no envelope around a statement")
		}
		l := layer{mediaType: envelopeMediaType, annotations: map[string]string{annotationSignature: "", annotationType: s.PredicateType}}
		// These are the bytes whose digest the transparency log has.
		if l.data, err = json.Marshal(envelope); err != nil {
			return layer{}, err
		}
		return l, annotate(l.annotations, b)
	}
	if len(s.Payload) == 0 || len(s.PayloadBundle) == 0 {
		return layer{}, fmt.Errorf("%w: no simple signing document was signed", ErrNoOlderForm)
	}
	b, err := parseBundle(s.PayloadBundle)
	if err != nil {
		return layer{}, err
	}
	signature := b.GetMessageSignature().GetSignature()
	if len(signature) == 0 {
		return layer{}, errors.New("the bundle of its simple signing document has no signature")
	}
	l := layer{mediaType: signing.PayloadMediaType, data: s.Payload,
		annotations: map[string]string{annotationSignature: base64.StdEncoding.EncodeToString(signature)}}
	return l, annotate(l.annotations, b)
}

// parseBundle reads the JSON of a bundle of any version. It does not verify it.
func parseBundle(data []byte) (*protobundle.Bundle, error) {
	if len(data) > maxBundle {
		return nil, fmt.Errorf("the bundle has more than %d bytes", maxBundle)
	}
	b := &protobundle.Bundle{}
	if err := protojson.Unmarshal(data, b); err != nil {
		return nil, fmt.Errorf("it is no Sigstore bundle: %w", err)
	}
	if b.GetContent() == nil || b.GetVerificationMaterial().GetContent() == nil {
		return nil, errors.New("it is no Sigstore bundle: it has no signature, or does not say who signed")
	}
	return b, nil
}

// entry is what the annotation says of an entry in a transparency log.
type entry struct {
	SignedEntryTimestamp []byte
	Payload              struct {
		Body           []byte `json:"body"`
		IntegratedTime int64  `json:"integratedTime"`
		LogIndex       int64  `json:"logIndex"`
		// LogID is in hexadecimal.
		LogID string `json:"logID"`
	}
}

// stamp is what the annotation says of a timestamp (RFC 3161).
type stamp struct{ SignedRFC3161Timestamp []byte }

// annotate adds what a bundle says about who signed, and when.
func annotate(annotations map[string]string, b *protobundle.Bundle) error {
	material := b.GetVerificationMaterial()
	certificates := [][]byte{material.GetCertificate().GetRawBytes()}
	if chain := material.GetX509CertificateChain().GetCertificates(); len(chain) > 0 {
		certificates = nil
		for _, c := range chain {
			certificates = append(certificates, c.GetRawBytes())
		}
	}
	keyless := len(certificates[0]) > 0
	if keyless {
		annotations[annotationCertificate] = certificatePEM(certificates[:1])
		if chain := certificatePEM(certificates[1:]); chain != "" {
			annotations[annotationChain] = chain
		}
	}
	logged, err := annotateEntry(annotations, material.GetTlogEntries())
	if err != nil {
		return err
	}
	// An attestation under a tag is timed as a whole, a bundle's is by its signature:
	// the one says nothing of the other.
	timed := false
	if stamps := material.GetTimestampVerificationData().GetRfc3161Timestamps(); len(stamps) > 0 && b.GetMessageSignature() != nil {
		said, err := json.Marshal(stamp{stamps[0].GetSignedTimestamp()})
		if err != nil {
			return err
		}
		annotations[annotationTimestamp], timed = string(said), true
	}
	switch {
	case !keyless || logged:
		return nil
	case len(material.GetTlogEntries()) > 0:
		return fmt.Errorf("%w: its entry is in a transparency log of version 2, which they cannot say", ErrNoOlderForm)
	case !timed:
		return fmt.Errorf("%w: its time is proven in a way which they cannot say", ErrNoOlderForm)
	}
	return nil
}

// annotateEntry tells the first entry whose time a log of version 1 signed.
func annotateEntry(annotations map[string]string, entries []*protorekor.TransparencyLogEntry) (bool, error) {
	for _, t := range entries {
		promise := t.GetInclusionPromise().GetSignedEntryTimestamp()
		if len(promise) == 0 {
			continue
		}
		e := entry{SignedEntryTimestamp: promise}
		e.Payload.Body, e.Payload.IntegratedTime = t.GetCanonicalizedBody(), t.GetIntegratedTime()
		e.Payload.LogIndex, e.Payload.LogID = t.GetLogIndex(), hex.EncodeToString(t.GetLogId().GetKeyId())
		said, err := json.Marshal(e)
		if err != nil {
			return false, err
		}
		annotations[annotationEntry] = string(said)
		return true, nil
	}
	return false, nil
}

func certificatePEM(certificates [][]byte) string {
	var text []byte
	for _, der := range certificates {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return string(text)
}
