package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	digest "github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

const (
	// maxSignature bounds a detached signature, in bytes.
	maxSignature = 16 << 10
	// maxBundle bounds a bundle, in bytes. One with a statement holds it.
	maxBundle = 64 << 20
)

// VerifyOptions say whose signatures are accepted: those of one key, or those of
// identities.
type VerifyOptions struct {
	// Key names a public key, like Options.Key.
	Key string
	// PIN opens the PKCS#11 token that Key is in, like Options.PIN.
	PIN func(context.Context) ([]byte, error)
	// Identities are whose keyless signatures are accepted.
	Identities []Identity
	// TLog says whether an entry in the transparency log is demanded. The default
	// is that of signing.
	TLog TLog
	// Timestamp demands the time of an RFC 3161 authority.
	Timestamp bool
	// Sigstore says what is trusted. Only its trusted root and TUF repository
	// matter. Nothing of it is read to verify with a key and without a log.
	Sigstore Deployment
}

// Verifier verifies signatures. It can be used by several goroutines at once.
type Verifier struct {
	// key is nil when identities are accepted.
	key        crypto.PublicKey
	algorithms []algorithm
	bundles    *verify.Verifier
	policy     []verify.PolicyOption
	identities []Identity
	tlog       bool
	timestamp  bool
}

// Result says who signed.
type Result struct {
	// Signer is for people: the subject of a certificate and its issuer, or the
	// digest of a key.
	Signer string
	// KeyHint is the SHA-256 of the public key (SubjectPublicKeyInfo) in base64,
	// with a key.
	KeyHint string
	// Subject and Issuer are those of the certificate, with an identity.
	Subject, Issuer string
	// Times are when trusted witnesses saw the signature.
	Times []time.Time
	// Logged says that the transparency log's entry was verified.
	Logged bool
	// Statement is what a DSSE bundle signs.
	Statement []byte
	// Reference is what a simple signing document says that the image may be called.
	Reference string
}

// NewVerifier makes a verifier. Errors are *KeyError, *ServiceError and
// *ConfigurationError, or of the context.
func NewVerifier(ctx context.Context, o VerifyOptions) (*Verifier, error) {
	return newVerifier(ctx, o, o.Sigstore.trusted)
}

// Verifier verifies what the signer signs with its key, without a log. A keyless
// signer has none: it has another key each time.
func (s *Signer) Verifier() (*Verifier, error) {
	if s.certificates != nil {
		return nil, nil
	}
	v := &Verifier{key: s.key.public, algorithms: s.key.algorithms, policy: []verify.PolicyOption{verify.WithKey()}}
	trusted := withKey{&root.BaseTrustedMaterial{}, v.algorithms}
	var err error
	if v.bundles, err = verify.NewVerifier(trusted, v.demands(trusted)...); err != nil {
		return nil, configurationErrorf("verify: %w", err)
	}
	return v, nil
}

// newVerifier reads what is trusted only when there is need for it.
func newVerifier(ctx context.Context, o VerifyOptions, read func(context.Context) (root.TrustedMaterial, error)) (*Verifier, error) {
	v := &Verifier{identities: o.Identities, timestamp: o.Timestamp}
	switch {
	case o.Key == "" && len(o.Identities) == 0:
		return nil, configurationErrorf("say whose signatures are accepted: a key, or an identity and its issuer")
	case o.Key != "" && len(o.Identities) > 0:
		return nil, configurationErrorf("signatures are verified with a key or by identity, not both")
	}
	v.tlog = o.TLog == TLogOn || o.TLog == TLogDefault && o.Key == ""
	if o.Key == "" && !v.tlog && !o.Timestamp {
		return nil, configurationErrorf("keyless signatures need a proof of their time: demand the transparency log or a timestamp")
	}
	var trusted root.TrustedMaterial = &root.BaseTrustedMaterial{}
	if o.Key == "" || v.tlog || o.Timestamp {
		var err error
		if trusted, err = read(ctx); err != nil {
			return nil, err
		}
	}
	if o.Key != "" {
		var err error
		if v.key, err = publicKey(ctx, Options{Key: o.Key, PIN: o.PIN}, false); err != nil {
			return nil, err
		}
		if v.algorithms, err = algorithms(v.key); err != nil {
			return nil, &KeyError{Ref: printable(o.Key), Err: err}
		}
		trusted = withKey{trusted, v.algorithms}
		v.policy = []verify.PolicyOption{verify.WithKey()}
	}
	for _, i := range o.Identities {
		option, err := i.policy()
		if err != nil {
			return nil, err
		}
		v.policy = append(v.policy, option)
	}
	var err error
	if v.bundles, err = verify.NewVerifier(trusted, v.demands(trusted)...); err != nil {
		return nil, configurationErrorf("verify: %w", err)
	}
	return v, nil
}

// demands are what a bundle has to prove.
func (v *Verifier) demands(trusted root.TrustedMaterial) []verify.VerifierOption {
	var o []verify.VerifierOption
	if v.tlog {
		o = append(o, verify.WithTransparencyLog(1))
	}
	switch {
	case v.timestamp:
		o = append(o, verify.WithSignedTimestamps(1))
	case v.key != nil:
		o = append(o, verify.WithNoObserverTimestamps())
	default:
		// The time comes from a timestamp or, of a log of version 1, its entry.
		o = append(o, verify.WithObserverTimestamps(1))
	}
	// A deployment that has a certificate transparency log names its key.
	if v.key == nil && len(trusted.CTLogs()) > 0 {
		o = append(o, verify.WithSignedCertificateTimestamps(1))
	}
	return o
}

// withKey is trusted material that also trusts one key, whatever a bundle calls it.
type withKey struct {
	root.TrustedMaterial
	algorithms []algorithm
}

// PublicKeyVerifier implements root.TrustedMaterial.
func (w withKey) PublicKeyVerifier(string) (root.TimeConstrainedVerifier, error) {
	return root.NewExpiringKey(anyAlgorithm{w.algorithms}, time.Time{}, time.Time{}), nil
}

// Verify checks what is there of a document's detached signature (in base64) and
// bundle; both have to fit when both are given. Errors wrap ErrNotSigned,
// ErrWrongSigner, ErrTampered or ErrNotInLog.
func (v *Verifier) Verify(ctx context.Context, data, sig, bundleJSON []byte) (*Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if len(sig) == 0 && len(bundleJSON) == 0 {
		return nil, fmt.Errorf("%w: there is neither a signature nor a bundle", ErrNotSigned)
	}
	var raw []byte
	if len(sig) > 0 {
		var err error
		if raw, err = decodeSignature(sig); err != nil {
			return nil, err
		}
	}
	if len(bundleJSON) == 0 {
		return v.verifyDetached(data, raw)
	}
	b, err := parseBundle(bundleJSON)
	if err != nil {
		return nil, err
	}
	message := b.GetMessageSignature()
	if message == nil {
		return nil, fmt.Errorf("%w: the bundle signs a statement and not the document", ErrNotSigned)
	}
	result, err := v.verifyBundle(b, verify.WithArtifact(bytes.NewReader(data)), func() bool {
		return !fits(message.GetMessageDigest().GetDigest(), data)
	})
	if err != nil {
		return nil, err
	}
	if raw != nil && !bytes.Equal(raw, message.GetSignature()) {
		if err := v.sameSigner(b, data, raw); err != nil {
			return nil, fmt.Errorf("the bundle is good, the detached signature is not: %w", err)
		}
	}
	return result, nil
}

// VerifyStatement checks a bundle around an in-toto statement that has to be about
// subject. The statement is in the result. Errors are those of Verify.
func (v *Verifier) VerifyStatement(ctx context.Context, bundleJSON []byte, subject digest.Digest) (*Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if len(bundleJSON) == 0 {
		return nil, fmt.Errorf("%w: there is no bundle", ErrNotSigned)
	}
	if err := subject.Validate(); err != nil {
		return nil, configurationErrorf("digest %q: %w", subject, err)
	}
	sum, err := hex.DecodeString(subject.Encoded())
	if err != nil {
		return nil, configurationErrorf("digest %q: %w", subject, err)
	}
	b, err := parseBundle(bundleJSON)
	if err != nil {
		return nil, err
	}
	envelope := b.GetDsseEnvelope()
	if envelope == nil {
		return nil, fmt.Errorf("%w: the bundle signs no statement", ErrNotSigned)
	}
	if envelope.GetPayloadType() != PayloadType {
		return nil, fmt.Errorf("%w: the bundle signs a payload of type %.80q, and not an in-toto statement", ErrNotSigned, envelope.GetPayloadType())
	}
	result, err := v.verifyBundle(b, verify.WithArtifactDigest(subject.Algorithm().String(), sum), nil)
	if err != nil {
		return nil, err
	}
	result.Statement = envelope.GetPayload()
	return result, nil
}

// VerifyEnvelope checks that a bundle around an in-toto statement holds these very
// bytes. Errors are those of Verify.
func (v *Verifier) VerifyEnvelope(ctx context.Context, statement, bundleJSON []byte) (*Result, error) {
	var header struct {
		Subject []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	if err := json.Unmarshal(statement, &header); err != nil || len(header.Subject) == 0 {
		return nil, fmt.Errorf("%w: the document is no in-toto statement with a subject", ErrNotSigned)
	}
	result, err := v.VerifyStatement(ctx, bundleJSON, digest.NewDigestFromEncoded(digest.SHA256, header.Subject[0].Digest["sha256"]))
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(result.Statement, statement) {
		return nil, fmt.Errorf("%w: the bundle holds another statement", ErrTampered)
	}
	return result, nil
}

// verifyDetached checks a signature that has no bundle.
func (v *Verifier) verifyDetached(data, sig []byte) (*Result, error) {
	switch {
	case v.key == nil:
		return nil, fmt.Errorf("%w by an identity: a detached signature does not say who signed, the bundle does", ErrNotSigned)
	case v.tlog:
		return nil, fmt.Errorf("%w: a detached signature has no proof of it, a bundle has", ErrNotInLog)
	case v.timestamp:
		return nil, fmt.Errorf("%w: a detached signature has no timestamp, a bundle has", ErrNotInLog)
	}
	if _, err := match(v.algorithms, data, sig); err != nil {
		return nil, fmt.Errorf("%w, or %w: the key does not verify the signature", ErrTampered, ErrWrongSigner)
	}
	return v.byKey(), nil
}

// sameSigner checks a detached signature that is another one than the bundle's, by
// the key that the bundle was verified with.
func (v *Verifier) sameSigner(b *bundle.Bundle, data, sig []byte) error {
	all := v.algorithms
	if v.key == nil {
		content, err := b.VerificationContent()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrTampered, err)
		}
		if all, err = algorithms(content.Certificate().PublicKey); err != nil {
			return fmt.Errorf("%w: %w", ErrTampered, err)
		}
	}
	if _, err := match(all, data, sig); err != nil {
		return fmt.Errorf("%w: it is not of the same document and key", ErrTampered)
	}
	return nil
}

// verifyBundle checks a bundle. Changed says, when it is given, whether the
// document is another one than the bundle's.
func (v *Verifier) verifyBundle(b *bundle.Bundle, document verify.ArtifactPolicyOption, changed func() bool) (*Result, error) {
	result, err := v.bundles.Verify(b, verify.NewPolicy(document, v.policy...))
	if err != nil {
		return nil, v.explain(b, err, changed)
	}
	r := &Result{Logged: v.tlog}
	if v.key != nil {
		r = v.byKey()
		r.Logged = v.tlog
	} else if c := result.Signature.Certificate; c != nil {
		r.Subject, r.Issuer = c.SubjectAlternativeName, c.Issuer
		r.Signer = fmt.Sprintf("%s (%s)", r.Subject, r.Issuer)
	}
	for _, t := range result.VerifiedTimestamps {
		if t.Type != "CurrentTime" {
			r.Times = append(r.Times, t.Timestamp)
		}
	}
	return r, nil
}

func (v *Verifier) byKey() *Result {
	h := hint(v.key)
	return &Result{Signer: "key sha256:" + h, KeyHint: h}
}

// explain finds out why a bundle was refused. The library does not say it in a way
// that programs can read.
func (v *Verifier) explain(b *bundle.Bundle, err error, changed func() bool) error {
	content, cerr := b.VerificationContent()
	if cerr != nil {
		return fmt.Errorf("%w: %w", ErrTampered, cerr)
	}
	if changed != nil && changed() {
		return fmt.Errorf("%w: it is not the document that the bundle signs: %w", ErrTampered, err)
	}
	if signer := v.stranger(content); signer != "" {
		return fmt.Errorf("%w: %s: %w", ErrWrongSigner, signer, err)
	}
	entries := len(b.GetVerificationMaterial().GetTlogEntries())
	stamps := len(b.GetVerificationMaterial().GetTimestampVerificationData().GetRfc3161Timestamps())
	switch {
	case v.tlog && entries == 0:
		return fmt.Errorf("%w: the bundle has no entry of it: %w", ErrNotInLog, err)
	case (v.timestamp || v.key == nil) && stamps == 0 && entries == 0:
		return fmt.Errorf("%w: the bundle has no timestamp: %w", ErrNotInLog, err)
	}
	if weak := v.provenBy(b); weak {
		return fmt.Errorf("%w: %w", ErrNotInLog, err)
	}
	return fmt.Errorf("%w: %w", ErrTampered, err)
}

// provenBy says whether the log's or the timestamps' proofs are what is wrong.
func (v *Verifier) provenBy(b *bundle.Bundle) bool {
	logged, err := v.bundles.VerifyTransparencyLogInclusion(b)
	if err != nil {
		return true
	}
	_, err = v.bundles.VerifyObserverTimestamps(b, logged)
	return err != nil
}

// stranger names the signer of a bundle when it is none that is accepted.
func (v *Verifier) stranger(content verify.VerificationContent) string {
	cert := content.Certificate()
	switch {
	case v.key != nil && cert != nil:
		return "the bundle is signed keyless, and a key is expected"
	case v.key != nil:
		if named := content.PublicKey().Hint(); named != "" && named != hint(v.key) {
			return fmt.Sprintf("the bundle names the key sha256:%.64s, and sha256:%s is expected", named, hint(v.key))
		}
	case cert == nil:
		return "the bundle is signed with a key, and an identity is expected"
	default:
		return v.strangeCertificate(cert)
	}
	return ""
}

func (v *Verifier) strangeCertificate(cert *x509.Certificate) string {
	for _, i := range v.identities {
		if i.matches(cert) {
			return ""
		}
	}
	return "the certificate is " + certified(cert)
}

// fits says whether sum is a digest of data.
func fits(sum, data []byte) bool {
	for h := range hashes {
		if len(sum) == h.Size() {
			hash := h.New()
			hash.Write(data)
			return bytes.Equal(hash.Sum(nil), sum)
		}
	}
	return false
}

// decodeSignature reads a detached signature: base64, with any line end.
func decodeSignature(sig []byte) ([]byte, error) {
	if len(sig) > maxSignature {
		return nil, fmt.Errorf("%w: the signature is larger than %d bytes, which none is", ErrTampered, maxSignature)
	}
	raw, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(sig)))
	if err != nil || len(raw) == 0 {
		return nil, fmt.Errorf("%w: the signature is not base64", ErrTampered)
	}
	return raw, nil
}

// parseBundle reads a bundle's JSON.
func parseBundle(data []byte) (*bundle.Bundle, error) {
	if len(data) > maxBundle {
		return nil, fmt.Errorf("%w: the bundle is larger than %d bytes", ErrTampered, maxBundle)
	}
	b := &bundle.Bundle{}
	if err := b.UnmarshalJSON(data); err != nil {
		return nil, fmt.Errorf("%w: it is no Sigstore bundle: %w", ErrTampered, err)
	}
	return b, nil
}
