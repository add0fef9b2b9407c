package signing

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms"
	"github.com/sigstore/sigstore/pkg/signature/options"

	// Each registers the scheme of its service.
	_ "github.com/sigstore/sigstore/pkg/signature/kms/aws"
	_ "github.com/sigstore/sigstore/pkg/signature/kms/azure"
	_ "github.com/sigstore/sigstore/pkg/signature/kms/gcp"
	_ "github.com/sigstore/sigstore/pkg/signature/kms/hashivault"
)

const serviceKMS = "key management service"

const schemeVault = "hashivault://"

// builtin are the schemes of the services that need no program of their own.
var builtin = []string{"awskms://", "azurekms://", "gcpkms://", schemeVault}

// openKMS opens a key that never leaves its service. Only digests travel, and of
// documents only with Ed25519 keys, which sign nothing shorter.
func openKMS(ctx context.Context, ref string) (*key, error) {
	sv, err := getKMS(ctx, ref, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	pub, err := interruptible(ctx, func() (crypto.PublicKey, error) { return sv.PublicKey(options.WithContext(ctx)) })
	if err != nil {
		return nil, kmsError(ref, fmt.Errorf("read the public key: %w", err))
	}
	details, err := signature.GetDefaultAlgorithmDetails(pub)
	if err != nil {
		return nil, fmt.Errorf("keys of its kind do not sign here: %w", err)
	}
	// Services that are told which hash to use, instead of knowing it by the key.
	if h := details.GetHashType(); h != crypto.SHA256 {
		if sv, err = getKMS(ctx, ref, h); err != nil {
			return nil, err
		}
	}
	sign := func(ctx context.Context, data []byte) ([]byte, error) {
		sig, err := sv.SignMessage(bytes.NewReader(data), options.WithContext(ctx))
		if err != nil {
			return nil, kmsError(ref, err)
		}
		return sig, nil
	}
	return newKey(pub, sign, func() {})
}

func getKMS(ctx context.Context, ref string, h crypto.Hash) (kms.SignerVerifier, error) {
	var opts []signature.RPCOption
	if strings.HasPrefix(ref, schemeVault) {
		if token := vaultToken(); token != "" {
			opts = append(opts, options.WithRPCAuthOpts(options.RPCAuth{Token: token}))
		}
	}
	sv, err := interruptible(ctx, func() (kms.SignerVerifier, error) { return kms.Get(ctx, ref, h, opts...) })
	var unknown *kms.ProviderNotFoundError
	switch {
	case errors.As(err, &unknown):
		scheme, _, _ := strings.Cut(ref, "://")
		return nil, fmt.Errorf("nothing serves the scheme %s: it is none of %s, and there is no program sigstore-kms-%s on PATH",
			scheme, strings.Join(builtin, " "), scheme)
	case err != nil:
		return nil, kmsError(ref, err)
	}
	return sv, nil
}

func kmsError(ref string, err error) error {
	return &ServiceError{Service: serviceKMS, URL: ref, Err: err}
}

// vaultToken reads the file in which Vault's own command line keeps its token,
// when the environment has none. The library would find it, too, but logs that it
// looks for it.
func vaultToken() string {
	if os.Getenv("VAULT_TOKEN") != "" || os.Getenv("BAO_TOKEN") != "" {
		return ""
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	token, err := readFile(filepath.Join(home, ".vault-token"), 4<<10)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(token))
}

// CreateKMS makes a key in one of the built-in services, of the kind that the
// service has by default, and returns its public key as PEM. An existing key is
// kept. Errors are those of Open.
func CreateKMS(ctx context.Context, ref string) ([]byte, error) {
	if !slices.ContainsFunc(builtin, func(scheme string) bool { return strings.HasPrefix(ref, scheme) }) {
		return nil, &KeyError{Ref: printable(ref), Err: fmt.Errorf("keys are made in %s; make others with the tools of what keeps them", strings.Join(builtin, " "))}
	}
	sv, err := getKMS(ctx, ref, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	pub, err := interruptible(ctx, func() (crypto.PublicKey, error) { return sv.CreateKey(ctx, sv.DefaultAlgorithm()) })
	if err != nil {
		return nil, kmsError(ref, fmt.Errorf("create the key: %w", err))
	}
	return marshalPublic(pub)
}
