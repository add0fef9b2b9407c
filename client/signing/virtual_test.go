package signing

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-openapi/strfmt"
	"github.com/go-openapi/swag/conv"
	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/sigstore/rekor/pkg/types"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/stretchr/testify/require"
)

const (
	someone = "someone@example.com"
	vouches = "https://issuer.example.com"
)

// virtual is a Sigstore deployment in this process: a certificate authority, and a
// transparency log of version 1.
type virtual struct {
	*ca.VirtualSigstore
	fulcio, rekor *httptest.Server
	// certified and logged count what the servers did.
	certified, logged atomic.Int32
	// issued is when certificates begin, before now; lies is what the log answers in
	// place of an entry.
	issued time.Duration
	lies   string

	authority *x509.Certificate
	key       *ecdsa.PrivateKey
	root      *x509.Certificate
}

func newVirtual(t *testing.T) *virtual {
	t.Helper()
	v := &virtual{}
	var err error
	v.VirtualSigstore, err = ca.NewVirtualSigstore()
	require.NoError(t, err)
	root, rootKey, err := ca.GenerateRootCa()
	require.NoError(t, err)
	v.root = root
	v.authority, v.key, err = ca.GenerateFulcioIntermediate(root, rootKey)
	require.NoError(t, err)
	v.fulcio = httptest.NewServer(http.HandlerFunc(v.certify))
	v.rekor = httptest.NewServer(http.HandlerFunc(v.log))
	t.Cleanup(v.fulcio.Close)
	t.Cleanup(v.rekor.Close)
	return v
}

// trusted is what verifies the deployment's signatures.
func (v *virtual) trusted() root.TrustedMaterial {
	return virtualRoot{v.VirtualSigstore, v}
}

type virtualRoot struct {
	*ca.VirtualSigstore
	v *virtual
}

func (r virtualRoot) FulcioCertificateAuthorities() []root.CertificateAuthority {
	return []root.CertificateAuthority{&root.FulcioCertificateAuthority{Root: r.v.root, Intermediates: []*x509.Certificate{r.v.authority}}}
}

// CTLogs are none: certificates of this deployment are in no log.
func (virtualRoot) CTLogs() map[string]*root.TransparencyLog { return nil }

// onlyPublic is a key to certify, of which the private half is not known.
type onlyPublic struct{ key crypto.PublicKey }

func (o onlyPublic) Public() crypto.PublicKey { return o.key }
func (onlyPublic) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, fmt.Errorf("no private key")
}

func (v *virtual) certify(w http.ResponseWriter, r *http.Request) {
	v.certified.Add(1)
	var in struct {
		PublicKeyRequest struct{ PublicKey struct{ Content string } }
	}
	err := json.NewDecoder(r.Body).Decode(&in)
	var pub any
	if block, _ := pem.Decode([]byte(in.PublicKeyRequest.PublicKey.Content)); err == nil && block != nil {
		pub, err = x509.ParsePKIXPublicKey(block.Bytes)
	}
	var cert *x509.Certificate
	if err == nil {
		cert, err = ca.GenerateLeafCert(someone, vouches, time.Now().Add(-v.issued), onlyPublic{pub}, v.authority, v.key)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	chain := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	_ = json.NewEncoder(w).Encode(map[string]any{"signedCertificateEmbeddedSct": map[string]any{"chain": map[string]any{"certificates": []string{chain}}}}) // the client went away
}

func (v *virtual) log(w http.ResponseWriter, r *http.Request) {
	v.logged.Add(1)
	if v.lies != "" {
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, v.lies) // the client went away
		return
	}
	entry, err := v.enter(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("ETag", "uuid")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{"uuid": entry}) // the client went away
}

func (v *virtual) enter(r *http.Request) (*models.LogEntryAnon, error) {
	proposed, err := models.UnmarshalProposedEntry(r.Body, jsonConsumer{})
	if err != nil {
		return nil, err
	}
	entry, err := types.CreateVersionedEntry(proposed)
	if err != nil {
		return nil, err
	}
	body, err := types.CanonicalizeEntry(context.Background(), entry)
	if err != nil {
		return nil, err
	}
	id, err := v.RekorLogID()
	if err != nil {
		return nil, err
	}
	now := time.Now().Unix()
	encoded := base64.StdEncoding.EncodeToString(body)
	set, err := v.RekorSignPayload(tlog.RekorPayload{Body: encoded, IntegratedTime: now, LogIndex: 0, LogID: id})
	if err != nil {
		return nil, err
	}
	proof, err := v.GetInclusionProof(body)
	if err != nil {
		return nil, err
	}
	return &models.LogEntryAnon{
		Body: encoded, IntegratedTime: conv.Pointer(now), LogIndex: conv.Pointer(int64(0)), LogID: conv.Pointer(id),
		Verification: &models.LogEntryAnonVerification{InclusionProof: proof, SignedEntryTimestamp: strfmt.Base64(set)},
	}, nil
}

type jsonConsumer struct{}

func (jsonConsumer) Consume(r io.Reader, v any) error { return json.NewDecoder(r).Decode(v) }

// idToken is a token that nobody signed; the servers here do not look.
func idToken(lifetime time.Duration) string {
	claims := fmt.Sprintf(`{"iss":%q,"sub":%q,"email":%q,"email_verified":true,"exp":%d}`, vouches, someone, someone, time.Now().Add(lifetime).Unix())
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none"}`)) + "." + encode([]byte(claims)) + "." + encode([]byte("signature"))
}

// options sign with the deployment.
func (v *virtual) options() Options {
	return Options{IDToken: idToken(time.Hour), Sigstore: Deployment{Fulcio: v.fulcio.URL, Rekor: v.rekor.URL}, Timeout: 10 * time.Second}
}

// open makes a signer that checks what it signed.
func (v *virtual) open(t *testing.T, o Options) *Signer {
	t.Helper()
	s, err := Open(t.Context(), o)
	require.NoError(t, err)
	s.trusted = v.trusted()
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// verifier is one that trusts the deployment.
func (v *virtual) verifier(t *testing.T, o VerifyOptions) *Verifier {
	t.Helper()
	made, err := newVerifier(t.Context(), o, func(context.Context) (root.TrustedMaterial, error) { return v.trusted(), nil })
	require.NoError(t, err)
	return made
}
