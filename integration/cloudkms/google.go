package cloudkms

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"hash/crc32"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// GoogleKey names the key for temper and cosign.
const GoogleKey = "gcpkms://" + googleName + "/cryptoKeyVersions/1"

const googleName = "projects/p/locations/global/keyRings/r/cryptoKeys/k"

func (c *Cloud) setUpGoogle(dir string) error {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "p", "private_key_id": "1", "client_email": "signer@p.iam.gserviceaccount.com", "client_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"token_uri":   "https://oauth2.googleapis.com/token",
	})
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "google.json")
	if err := os.WriteFile(path, account, 0o600); err != nil {
		return err
	}
	c.env["GOOGLE_APPLICATION_CREDENTIALS"] = path
	kmspb.RegisterKeyManagementServiceServer(c.google, google{cloud: c})
	return nil
}

func googleToken(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"access_token":"google-token","token_type":"Bearer","expires_in":3600}`)) // the client went away
}

// google answers as Cloud KMS does (v1).
type google struct {
	kmspb.UnimplementedKeyManagementServiceServer
	cloud *Cloud
}

func (g google) admit(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if token := strings.Join(md.Get("authorization"), ""); !strings.HasPrefix(token, "Bearer ") {
		return status.Error(codes.Unauthenticated, "the request has no credentials")
	}
	if g.cloud.isDown() {
		return status.Error(codes.Internal, "out of order")
	}
	return nil
}

func (g google) GetCryptoKey(ctx context.Context, r *kmspb.GetCryptoKeyRequest) (*kmspb.CryptoKey, error) {
	if err := g.admit(ctx); err != nil {
		return nil, err
	}
	if r.Name != googleName {
		return nil, status.Error(codes.NotFound, "no such key")
	}
	return &kmspb.CryptoKey{Name: r.Name, Purpose: kmspb.CryptoKey_ASYMMETRIC_SIGN}, nil
}

func (g google) GetCryptoKeyVersion(ctx context.Context, r *kmspb.GetCryptoKeyVersionRequest) (*kmspb.CryptoKeyVersion, error) {
	return &kmspb.CryptoKeyVersion{Name: r.Name, Algorithm: kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256, State: kmspb.CryptoKeyVersion_ENABLED}, g.admit(ctx)
}

func (g google) GetPublicKey(ctx context.Context, _ *kmspb.GetPublicKeyRequest) (*kmspb.PublicKey, error) {
	der, err := x509.MarshalPKIXPublicKey(g.cloud.Key.Public())
	if err != nil {
		return nil, err
	}
	return &kmspb.PublicKey{Pem: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}, g.admit(ctx)
}

func (g google) AsymmetricSign(ctx context.Context, r *kmspb.AsymmetricSignRequest) (*kmspb.AsymmetricSignResponse, error) {
	if err := g.admit(ctx); err != nil {
		return nil, err
	}
	sig, err := g.cloud.sign("google", r.GetDigest().GetSha256())
	if err != nil {
		return nil, err
	}
	sum := int64(crc32.Checksum(sig, crc32.MakeTable(crc32.Castagnoli)))
	return &kmspb.AsymmetricSignResponse{Name: r.Name, Signature: sig, SignatureCrc32C: wrapperspb.Int64(sum), VerifiedDigestCrc32C: true}, nil
}
