package signing

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/temper-images/temper/client/artifact"
)

// parallel is how many documents are signed side by side.
const parallel = 8

// PayloadType is the DSSE payload type of in-toto statements.
const PayloadType = "application/vnd.in-toto+json"

// statementType begins the type of every version of an in-toto statement.
const statementType = "https://in-toto.io/Statement/"

// Signature is the signature of one document.
type Signature struct {
	// Raw is the signature: ASN.1 with ECDSA, PKCS #1 v1.5 or PSS with RSA.
	Raw []byte
	// Bundle is the Sigstore bundle v0.3 in JSON, with a message signature.
	Bundle []byte
}

// Base64 is the detached signature, as cosign sign-blob writes it: without a line
// end.
func (s *Signature) Base64() []byte { return []byte(base64.StdEncoding.EncodeToString(s.Raw)) }

// SignBlob signs the bytes of a document. Errors are *KeyError, *ServiceError and
// *IdentityError, or of the context.
func (s *Signer) SignBlob(ctx context.Context, data []byte) (*Signature, error) {
	k, bundle, err := s.bundle(ctx, &sign.PlainData{Data: data})
	if err != nil {
		return nil, err
	}
	return &Signature{Raw: k.sig, Bundle: bundle}, nil
}

// SignStatement signs an in-toto statement, and returns a Sigstore bundle with a
// DSSE envelope around it. Errors are those of SignBlob.
func (s *Signer) SignStatement(ctx context.Context, statement []byte) ([]byte, error) {
	var header struct {
		Type    string            `json:"_type"`
		Subject []json.RawMessage `json:"subject"`
	}
	if err := json.Unmarshal(statement, &header); err != nil {
		return nil, fmt.Errorf("sign a statement: %w", err)
	}
	if !strings.HasPrefix(header.Type, statementType) || len(header.Subject) == 0 {
		return nil, errors.New("sign a statement: it is no in-toto statement with a subject")
	}
	_, bundle, err := s.bundle(ctx, &sign.DSSEData{Data: statement, PayloadType: PayloadType})
	return bundle, err
}

// SignArtifacts signs documents side by side, and returns what is to be kept
// beside them: for each NAME its NAME.sig and NAME.sigstore.json, and for an
// in-toto statement NAME.dsse.sigstore.json. The order is that of the documents.
// On an error nothing is returned; errors are those of SignBlob.
func (s *Signer) SignArtifacts(ctx context.Context, documents []artifact.Artifact) ([]artifact.Artifact, error) {
	made := make([][]artifact.Artifact, len(documents))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, d := range documents {
		group.Go(func() error {
			var err error
			if made[i], err = s.signArtifact(ctx, d); err != nil {
				return fmt.Errorf("sign %s: %w", d.Name, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var all []artifact.Artifact
	for _, m := range made {
		all = append(all, m...)
	}
	return all, nil
}

func (s *Signer) signArtifact(ctx context.Context, d artifact.Artifact) ([]artifact.Artifact, error) {
	beside := func(suffix, mediaType string, data []byte) artifact.Artifact {
		return artifact.Artifact{Kind: d.Kind, Name: d.Name + suffix, MediaType: mediaType, Platform: d.Platform, Data: data}
	}
	signature, err := s.SignBlob(ctx, d.Data)
	if err != nil {
		return nil, err
	}
	made := []artifact.Artifact{
		beside(artifact.SignatureSuffix, artifact.TypeSignature, signature.Base64()),
		beside(artifact.BundleSuffix, artifact.TypeBundle, signature.Bundle),
	}
	if d.MediaType == artifact.TypeInToto {
		bundle, err := s.SignStatement(ctx, d.Data)
		if err != nil {
			return nil, err
		}
		made = append(made, beside(artifact.EnvelopeSuffix, artifact.TypeBundle, bundle))
	}
	return made, nil
}

// bundle signs, has the signature certified, timed and logged as the signer was
// told, and checks the result.
func (s *Signer) bundle(ctx context.Context, content sign.Content) (*keypair, []byte, error) {
	if s.closed.Load() {
		return nil, nil, errors.New("the signer is closed")
	}
	k := newKeypair(s.key)
	o := sign.BundleOptions{Context: ctx}
	if s.certificates != nil {
		o.CertificateProvider = s.certificates
	}
	for _, l := range s.services.logs {
		o.TransparencyLogs = append(o.TransparencyLogs, transparency{l, s.timeout})
	}
	made, err := sign.Bundle(content, k, o)
	if err != nil {
		return nil, nil, s.signError(ctx, err)
	}
	for _, authority := range s.services.timestamps {
		stamp, err := s.timestamp(ctx, authority, k.sig)
		if err != nil {
			return nil, nil, err
		}
		if made.VerificationMaterial.TimestampVerificationData == nil {
			made.VerificationMaterial.TimestampVerificationData = &protobundle.TimestampVerificationData{}
		}
		data := made.VerificationMaterial.TimestampVerificationData
		data.Rfc3161Timestamps = append(data.Rfc3161Timestamps, stamp)
	}
	if err := s.check(content, made); err != nil {
		return nil, nil, err
	}
	data, err := marshal(made)
	return k, data, err
}

func (s *Signer) signError(ctx context.Context, err error) error {
	var service *ServiceError
	var identity *IdentityError
	if ctx.Err() != nil || errors.As(err, &service) || errors.As(err, &identity) {
		return err
	}
	return &KeyError{Ref: s.ref, Err: err}
}

// marshal writes a bundle as JSON. The library puts in blanks by chance, so that
// nobody relies on its bytes; documents here are the same each time.
func marshal(b *protobundle.Bundle) ([]byte, error) {
	loose, err := protojson.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("write a bundle: %w", err)
	}
	var tight bytes.Buffer
	if err := json.Compact(&tight, loose); err != nil {
		return nil, fmt.Errorf("write a bundle: %w", err)
	}
	return tight.Bytes(), nil
}
