package signing

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/sigstore"
)

// Neither what the program says nor what it writes has a key, a password or a
// token in it.
func TestSecretsStaySecret(t *testing.T) {
	d := sigstore.Shared(t)
	dir := t.TempDir()
	file := document(t, dir, "{}")
	must(t, dir, nil, "temper", "key", "generate")
	container := []byte(read(t, filepath.Join(dir, "cosign.key")))
	block, _ := pem.Decode(container)
	require.NotNil(t, block)
	der, err := encrypted.Decrypt(block.Bytes, []byte(password))
	require.NoError(t, err)
	plain := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	id, err := d.Token(person, time.Hour)
	require.NoError(t, err)
	secrets := [][]byte{der, []byte(base64.StdEncoding.EncodeToString(der)), []byte(password), []byte(id)}
	secrets = append(secrets, bytes.Split([]byte(plain), []byte("\n"))[1:3]...)
	env := map[string]string{"PLAIN_KEY": plain, "SIGSTORE_ID_TOKEN": id}
	broken := plain[:len(plain)/2] + "A" + plain[len(plain)/2:]
	for name, args := range map[string][]string{
		"plain key":        {"--key", "env://PLAIN_KEY"},
		"encrypted key":    {"--key", "cosign.key"},
		"broken key":       {"--key", "env://BROKEN_KEY"},
		"key as reference": {"--key", plain},
		"bad log":          {"--key", "cosign.key", "--tlog=on", "--rekor-url", "http://127.0.0.1:1"},
		"keyless":          {"--signing-config", d.SigningConfig, "--trusted-root", d.TrustedRoot},
		"keyless, refused": {"--fulcio-url", d.Rekor, "--rekor-url", d.Rekor, "--rekor-version=2", "--timestamp-url", d.Timestamp},
	} {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{"PLAIN_KEY": env["PLAIN_KEY"], "SIGSTORE_ID_TOKEN": id, "BROKEN_KEY": broken}
			out := filepath.Join(t.TempDir(), "out")
			o := run(t, dir, env, "temper", append(append([]string{"sign", "-o", out}, args...), file)...)
			said := o.stdout + o.stderr
			written, err := filepath.Glob(filepath.Join(out, "*"))
			require.NoError(t, err)
			for _, path := range written {
				said += read(t, path)
			}
			for _, secret := range secrets {
				require.NotContains(t, said, string(secret))
			}
		})
	}
}

// What temper writes of an image is what cosign would sign.
func TestSignImage(t *testing.T) {
	dir := t.TempDir()
	layout := filepath.Join(dir, "app.oci")
	require.NoError(t, os.MkdirAll(filepath.Join(layout, "blobs", "sha256"), 0o755))
	manifest := writeLayout(t, layout)
	must(t, dir, nil, "temper", "key", "generate")
	o := must(t, dir, nil, "temper", "sign", "--key", "cosign.key", "app.oci")
	require.Equal(t, "evidence/signature-app-amd64.json\nevidence/signature-app-amd64.json.sig\nevidence/signature-app-amd64.json.sigstore.json\n", o.stdout)
	payload := filepath.Join("evidence", "signature-app-amd64.json")
	for _, judge := range []string{"cosign", "cosign3"} {
		must(t, dir, nil, judge, "verify-blob", "--key", "cosign.pub", "--signature", payload+".sig", "--insecure-ignore-tlog", payload)
	}
	var document struct {
		Critical struct {
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			}
			Type string
		}
	}
	require.NoError(t, json.Unmarshal([]byte(read(t, filepath.Join(dir, payload))), &document))
	require.Equal(t, manifest, document.Critical.Image.Digest)
	require.Equal(t, "cosign container image signature", document.Critical.Type)
}
