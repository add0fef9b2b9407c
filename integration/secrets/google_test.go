package secrets

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	smpb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/temper-images/temper/client/secretstore"
)

const serviceAccount = "release@project.iam.gserviceaccount.com"

// google stands in for Secret Manager, and checks the token that the service
// account signs for itself.
type google struct {
	smpb.UnimplementedSecretManagerServiceServer
	server *grpc.Server
	key    *rsa.PrivateKey
}

func newGoogle() (*google, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	g := &google{server: grpc.NewServer(), key: key}
	smpb.RegisterSecretManagerServiceServer(g.server, g)
	return g, nil
}

func (g *google) authorized(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("authorization")
	if len(values) != 1 || !strings.HasPrefix(values[0], "Bearer ") {
		return errNobody
	}
	parts := strings.Split(strings.TrimPrefix(values[0], "Bearer "), ".")
	if len(parts) != 3 {
		return errNobody
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&g.key.PublicKey, crypto.SHA256, sum[:], signature); err != nil {
		return err
	}
	dt, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return err
	}
	var claims struct{ Iss string }
	if err := json.Unmarshal(dt, &claims); err != nil {
		return err
	}
	if claims.Iss != serviceAccount {
		return errNobody
	}
	return nil
}

func (g *google) AccessSecretVersion(ctx context.Context, in *smpb.AccessSecretVersionRequest) (*smpb.AccessSecretVersionResponse, error) {
	if err := g.authorized(ctx); err != nil {
		return nil, status.Error(codes.Unauthenticated, "Request had invalid authentication credentials.")
	}
	var value string
	switch in.GetName() {
	case "projects/project/secrets/plain/versions/latest":
		value = planted + "\n"
	case "projects/project/secrets/plain/versions/1":
		value = planted + "-old"
	case "projects/project/secrets/document/versions/latest":
		value = `{"password": "` + planted + `"}`
	case "projects/project/secrets/secret/versions/latest":
		return nil, status.Error(codes.PermissionDenied, "Permission 'secretmanager.versions.access' denied")
	case "projects/project/secrets/broken/versions/latest":
		return nil, status.Error(codes.Internal, "internal")
	default:
		return nil, status.Errorf(codes.NotFound, "Secret [%s] not found or has no versions.", in.GetName())
	}
	return &smpb.AccessSecretVersionResponse{Name: in.GetName(), Payload: &smpb.SecretPayload{Data: []byte(value)}}, nil
}

// serviceAccountFile writes the file that GOOGLE_APPLICATION_CREDENTIALS names.
func serviceAccountFile(t *testing.T, key *rsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	dt, err := json.Marshal(object{
		"type": "service_account", "project_id": "project", "private_key_id": "1", "client_email": serviceAccount,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_id":   "1", "token_uri": "https://oauth2.googleapis.com/token",
	})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "account.json")
	require.NoError(t, os.WriteFile(file, dt, 0o600))
	return file
}

func TestGoogle(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", serviceAccountFile(t, shared.clouds.google.key))
	t.Setenv("GCP_PROJECT", "")
	for reference, want := range map[string]string{
		"ref+gcpsecrets://project/plain":              planted + "\n",
		"ref+gcpsecrets://project/plain?trim_nl=true": planted,
		"ref+gcpsecrets://project/plain?version=1":    planted + "-old",
		"ref+gcpsecrets://project/document#/password": planted,
	} {
		resolves(t, reference, want)
	}
	fails(t, "ref+gcpsecrets://project/absent", secretstore.ErrNotFound, "NotFound: Secret [projects/project/secrets/absent/versions/latest] not found or has no versions.: check the project")
	fails(t, "ref+gcpsecrets://project/secret", secretstore.ErrDenied, "PermissionDenied: Permission 'secretmanager.versions.access' denied: check that the identity has the role")
	fails(t, "ref+gcpsecrets://project/broken", secretstore.ErrUnavailable, "Internal: internal")
	fails(t, "ref+gcpsecrets://project/plain#/key", secretstore.ErrUnusable, "no YAML or JSON mapping")
	fails(t, "ref+gcpsecrets://plain", secretstore.ErrSetup, "the reference names no project")
	t.Run("project of the environment", func(t *testing.T) {
		t.Setenv("GCP_PROJECT", "project")
		resolves(t, "ref+gcpsecrets://plain?trim_nl=true", planted)
	})
	t.Run("wrong key", func(t *testing.T) {
		other, err := rsa.GenerateKey(rand.Reader, 2048)
		require.NoError(t, err)
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", serviceAccountFile(t, other))
		fails(t, "ref+gcpsecrets://project/plain", secretstore.ErrDenied, "Unauthenticated: Request had invalid authentication credentials.")
	})
	t.Run("no credentials", func(t *testing.T) {
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/at/all.json")
		fails(t, "ref+gcpsecrets://project/plain", secretstore.ErrSetup, "no Google credentials were found: set GOOGLE_APPLICATION_CREDENTIALS")
	})
}
