package publish

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/temper-images/temper/client/journal"
	"github.com/temper-images/temper/client/publish"
	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/registry"
	"github.com/temper-images/temper/client/signing"
)

// Release is the step of a release that publishes an image, with what stands for
// its evidence. With a key it marshals to JSON, so that another process can carry it
// out.
type Release struct {
	Image *Image
	Tags  []string
	// Key is the file of a private key. Without it, Signing says how to sign keyless,
	// and Verify who is to have signed.
	Key     string
	Signing *signing.Options       `json:"-"`
	Verify  *signing.VerifyOptions `json:"-"`
	// Journal is the directory of journals. Without it there is none.
	Journal string
	// Attest are predicates by their types, in JSON, which are attested to the manifests
	// of all platforms and the index.
	Attest map[string]string
	// Order, Formats, ArchTags and MoveTags are publish.Request's.
	Order    publish.Order
	Formats  referrer.Formats
	ArchTags bool
	MoveTags bool
	// Retry is how persistent to be.
	Retry registry.Retry
	// User and Secret log in.
	User, Secret string
	// Notices gets a line for each wait and each fall-back.
	Notices func(string) `json:"-"`
}

// created is when all images of the tests are made.
var created = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Run publishes.
func (r *Release) Run(ctx context.Context) (result *publish.Result, err error) {
	signer, verifier, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, signer.Close()) }()
	q := publish.Request{
		ArchTags: r.ArchTags, MoveTags: r.MoveTags, Order: r.Order, Formats: r.Formats, Verifier: verifier, Created: created,
		Sign: func(ctx context.Context, reference string, manifest ocispecs.Descriptor) (referrer.Signed, error) {
			return referrer.SignImage(ctx, signer, reference, manifest)
		},
		Attachments: map[digest.Digest][]referrer.Signed{},
		Registry:    registry.Options{Push: true, Retry: r.Retry, Notice: r.Notices},
	}
	if r.User != "" {
		q.Registry.Keychain = keychain{authn.FromConfig(authn.AuthConfig{Username: r.User, Password: r.Secret})}
	}
	for _, tag := range r.Tags {
		t, err := name.NewTag(tag)
		if err != nil {
			return nil, err
		}
		q.Tags = append(q.Tags, t)
	}
	if q.Image, err = publish.Read(ctx, r.Image.Layout, r.Image.Top, false); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, q.Image.Close()) }()
	if r.Journal != "" {
		if q.Journal, err = journal.Open(ctx, journal.ID(append(r.Tags, r.Image.Top.Digest.String())...), journal.Options{Dir: r.Journal, Now: created}); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, q.Journal.Close()) }()
	}
	subjects := r.Image.Platforms
	if r.Image.Top.MediaType == ocispecs.MediaTypeImageIndex {
		subjects = append(subjects, r.Image.Top.Digest)
	}
	for predicateType, predicate := range r.Attest {
		for _, subject := range subjects {
			statement, err := json.Marshal(map[string]any{
				"_type": "https://in-toto.io/Statement/v1", "predicateType": predicateType, "predicate": json.RawMessage(predicate),
				"subject": []any{map[string]any{"name": "app", "digest": map[string]string{"sha256": subject.Encoded()}}},
			})
			if err != nil {
				return nil, err
			}
			signed, err := referrer.Attest(ctx, signer, statement)
			if err != nil {
				return nil, err
			}
			q.Attachments[subject] = append(q.Attachments[subject], signed)
		}
	}
	return publish.Run(ctx, &q)
}

func (r *Release) open(ctx context.Context) (*signing.Signer, *signing.Verifier, error) {
	o := signing.Options{Key: r.Key}
	if r.Signing != nil {
		o = *r.Signing
	}
	signer, err := signing.Open(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	var verifier *signing.Verifier
	if r.Verify != nil {
		verifier, err = signing.NewVerifier(ctx, *r.Verify)
	} else {
		verifier, err = signer.Verifier()
	}
	if err != nil {
		return nil, nil, errors.Join(err, signer.Close())
	}
	return signer, verifier, nil
}

// keychain logs in everywhere with the same.
type keychain struct{ authn.Authenticator }

func (k keychain) Resolve(authn.Resource) (authn.Authenticator, error) { return k.Authenticator, nil }

// NewKey makes a key pair PREFIX.key and PREFIX.pub, in PEM. The private one has no
// password: to open one with a password takes longer than to publish.
func NewKey(prefix string) (Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Key{}, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return Key{}, err
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return Key{}, err
	}
	if err := os.WriteFile(prefix+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600); err != nil {
		return Key{}, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	if err := os.WriteFile(prefix+".pub", text, 0o600); err != nil {
		return Key{}, err
	}
	return ParseKey(text)
}
