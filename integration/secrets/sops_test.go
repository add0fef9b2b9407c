package secrets

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/cmd/sops/common"
	"github.com/getsops/sops/v3/cmd/sops/formats"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/keyservice"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/secretstore"
)

// encrypt writes a file as "sops --encrypt --age" does.
func encrypt(t *testing.T, recipient, name, content string) string {
	t.Helper()
	store := common.StoreForFormat(formats.FormatForPath(name), config.NewStoresConfig())
	branches, err := store.LoadPlainFile([]byte(content))
	require.NoError(t, err)
	key, err := sopsage.MasterKeyFromRecipient(recipient)
	require.NoError(t, err)
	tree := sops.Tree{Branches: branches, Metadata: sops.Metadata{
		KeyGroups: []sops.KeyGroup{{key}}, LastModified: time.Now().UTC(), Version: "3.9.0", UnencryptedSuffix: "_unencrypted",
	}}
	dataKey, errs := tree.GenerateDataKeyWithKeyServices([]keyservice.KeyServiceClient{keyservice.NewLocalClient()})
	require.Empty(t, errs)
	require.NoError(t, common.EncryptTree(common.EncryptTreeOpts{DataKey: dataKey, Tree: &tree, Cipher: aes.NewCipher()}))
	dt, err := store.EmitEncryptedFile(tree)
	require.NoError(t, err)
	require.NotContains(t, string(dt), "p1anted")
	file := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(file, dt, 0o600))
	return file
}

func TestSOPS(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	to := identity.Recipient().String()
	document := encrypt(t, to, "secrets.enc.yaml", "db:\n  password: "+planted+"\nlist: [1]\n")
	binary := encrypt(t, to, "token.txt", planted)
	dt, err := os.ReadFile(binary)
	require.NoError(t, err)

	t.Setenv("SOPS_AGE_KEY", identity.String())
	for reference, want := range map[string]string{
		"ref+sops://" + document + "#/db/password":                                               planted,
		"ref+sops://" + binary:                                                                   planted,
		"ref+sops://" + binary + "?encode=base64":                                                base64.StdEncoding.EncodeToString([]byte(planted)),
		"ref+sops://" + encrypt(t, to, "x.json", `{"a": "`+planted+`"}`) + "#/a":                 planted,
		"ref+sops://" + base64.URLEncoding.EncodeToString(dt) + "?key_type=base64&format=binary": planted,
	} {
		resolves(t, reference, want)
	}
	fails(t, "ref+sops://"+document+"#/db/absent", secretstore.ErrNotFound, "the secret has no such key")
	fails(t, "ref+sops:///nowhere/x.yaml#/a", secretstore.ErrNotFound, "no such file or directory")
	fails(t, "ref+sops:///dev/zero", secretstore.ErrUnusable, "is not a regular file")
	plain := filepath.Join(t.TempDir(), "plain.yaml")
	require.NoError(t, os.WriteFile(plain, []byte("password: "+planted+"\n"), 0o600))
	fails(t, "ref+sops://"+plain+"#/password", secretstore.ErrUnusable, "this is no file of SOPS: it has no metadata: use ref+file://")
	require.NoError(t, os.WriteFile(plain, []byte("{{ p1anted and broken"), 0o600))
	fails(t, "ref+sops://"+plain+"#/password", secretstore.ErrUnusable, "")

	// Someone left a value that is not encrypted, which SOPS quotes in its error.
	dt, err = os.ReadFile(document)
	require.NoError(t, err)
	left := filepath.Join(t.TempDir(), "left.yaml")
	require.NoError(t, os.WriteFile(left, append([]byte("other: p1anted-in-plain\n"), dt...), 0o600))
	fails(t, "ref+sops://"+left+"#/other", secretstore.ErrUnusable, "")
	changed := filepath.Join(t.TempDir(), "changed.yaml")
	require.NoError(t, os.WriteFile(changed, bytes.Replace(dt, []byte("list:"), []byte("tsil:"), 1), 0o600))
	fails(t, "ref+sops://"+changed+"#/db/password", secretstore.ErrUnusable, "")

	t.Run("key in a file", func(t *testing.T) {
		t.Setenv("SOPS_AGE_KEY", "")
		file := filepath.Join(t.TempDir(), "keys.txt")
		require.NoError(t, os.WriteFile(file, []byte(identity.String()+"\n"), 0o600))
		t.Setenv("SOPS_AGE_KEY_FILE", file)
		resolves(t, "ref+sops://"+document+"#/db/password", planted)
	})
	t.Run("another key", func(t *testing.T) {
		other, err := age.GenerateX25519Identity()
		require.NoError(t, err)
		t.Setenv("SOPS_AGE_KEY", other.String())
		fails(t, "ref+sops://"+document+"#/db/password", secretstore.ErrDenied, "none of the keys that this file is encrypted for could decrypt it: give SOPS the key")
		t.Setenv("SOPS_AGE_KEY", "")
		fails(t, "ref+sops://"+document+"#/db/password", secretstore.ErrDenied, "SOPS_AGE_KEY_FILE")
	})
}
