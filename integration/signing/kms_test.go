package signing

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/cloudkms"
	"github.com/temper-images/temper/integration/tools"
)

// signAndJudge signs with a key of a service, and has both verify: temper by the
// service, cosign by the public key that temper prints.
func signAndJudge(t *testing.T, dir string, env map[string]string, ref string, digest string) {
	t.Helper()
	file := document(t, dir, "{}")
	must(t, dir, env, "temper", "sign", "--key", ref, file)
	public := must(t, dir, env, "temper", "key", "public", "--key", ref).stdout
	require.NoError(t, os.WriteFile(filepath.Join(dir, "service.pub"), []byte(public), 0o600))
	must(t, dir, nil, "cosign3", "verify-blob", "--key", "service.pub", "--signature", file+".sig", "--insecure-ignore-tlog", "--signature-digest-algorithm", digest, file)
	must(t, dir, nil, "cosign3", "verify-blob", "--key", "service.pub", "--bundle", file+".sigstore.json", "--insecure-ignore-tlog", "--signature-digest-algorithm", digest, file)
	must(t, dir, env, "temper", "verify-blob", "--key", ref, file)
}

func TestCloudKMS(t *testing.T) {
	cloud, err := cloudkms.Start(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cloud.Close()) })
	for service, ref := range map[string]string{"aws": cloudkms.AWSKey, "google": cloudkms.GoogleKey, "azure": cloudkms.AzureKey} {
		t.Run(service, func(t *testing.T) {
			dir := t.TempDir()
			signAndJudge(t, dir, cloud.Env(), ref, "sha256")
			require.Equal(t, 1, cloud.Signed(service))

			cloud.Down(true)
			defer cloud.Down(false)
			file := filepath.Join(t.TempDir(), "other.json")
			require.NoError(t, os.WriteFile(file, nil, 0o600))
			o := run(t, dir, cloud.Env(), "temper", "sign", "--key", ref, file)
			require.Equal(t, 1, o.code)
			require.Contains(t, o.stderr, "key management service "+ref)
			require.Contains(t, o.stderr, "out of order")
			require.NotContains(t, o.stderr, "that-nobody-prints")
			require.NoFileExists(t, file+".sig")
		})
	}
	t.Run("wrong credentials", func(t *testing.T) {
		dir := t.TempDir()
		env := maps.Clone(cloud.Env())
		env["AWS_ACCESS_KEY_ID"] = "AKIDOTHER"
		o := run(t, dir, env, "temper", "sign", "--key", cloudkms.AWSKey, document(t, dir, "{}"))
		require.Equal(t, 1, o.code)
		require.Contains(t, o.stderr, "The security token included in the request is invalid")
	})
	t.Run("unknown scheme", func(t *testing.T) {
		dir := t.TempDir()
		o := run(t, dir, nil, "temper", "sign", "--key", "nokms://key", document(t, dir, "{}"))
		require.Equal(t, 1, o.code)
		require.Contains(t, o.stderr, "there is no program sigstore-kms-nokms on PATH")
	})
}

// bao starts OpenBao with the transit engine, and returns its address.
func bao(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, tools.Path("bao"), "server", "-dev", "-dev-root-token-id=root", "-dev-listen-address="+address, "-dev-no-store-token")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, done := make(chan error), make(chan struct{})
	go func() {
		// The parent-death signal follows the thread that started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it is killed
		}
		close(done)
	}()
	t.Cleanup(func() { cancel(); <-done })
	require.NoError(t, <-started)
	require.Eventually(t, func() bool {
		resp, err := http.Get("http://" + address + "/v1/sys/health")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, time.Minute, 100*time.Millisecond)
	baoDo(t, address, "sys/mounts/transit", map[string]any{"type": "transit"})
	return "http://" + address
}

func baoDo(t *testing.T, address, path string, body any) {
	t.Helper()
	data, err := json.Marshal(body)
	require.NoError(t, err)
	req, err := http.NewRequest(http.MethodPost, "http://"+strings.TrimPrefix(address, "http://")+"/v1/"+path, strings.NewReader(string(data)))
	require.NoError(t, err)
	req.Header.Set("X-Vault-Token", "root")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Less(t, resp.StatusCode, 300, path)
}

func TestVaultTransit(t *testing.T) {
	address := bao(t)
	env := map[string]string{"VAULT_ADDR": address, "VAULT_TOKEN": "root"}
	for kind, digest := range map[string]string{"ecdsa-p256": "sha256", "ecdsa-p384": "sha384", "ecdsa-p521": "sha512", "ed25519": "sha256", "rsa-2048": "sha256", "rsa-4096": "sha256"} {
		t.Run(kind, func(t *testing.T) {
			baoDo(t, address, "transit/keys/"+kind, map[string]any{"type": kind})
			signAndJudge(t, t.TempDir(), env, "hashivault://"+kind, digest)
		})
	}
	t.Run("generate", func(t *testing.T) {
		dir := t.TempDir()
		file := document(t, dir, "{}")
		o := must(t, dir, env, "temper", "key", "generate", "--kms", "hashivault://made")
		require.Equal(t, "cosign.pub\n", o.stdout)
		require.NoFileExists(t, filepath.Join(dir, "cosign.key"))
		must(t, dir, env, "temper", "sign", "--key", "hashivault://made", file)
		must(t, dir, nil, "temper", "verify-blob", "--key", "cosign.pub", file)
		must(t, dir, env, "cosign", "verify-blob", "--key", "hashivault://made", "--signature", file+".sig", "--insecure-ignore-tlog", file)
	})
	t.Run("token in the home directory", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".vault-token"), []byte("root"), 0o600))
		o := must(t, dir, map[string]string{"VAULT_ADDR": address}, "temper", "sign", "--key", "hashivault://ecdsa-p256", document(t, dir, "{}"))
		require.Empty(t, o.stderr)
	})
	t.Run("refused", func(t *testing.T) {
		dir := t.TempDir()
		o := run(t, dir, map[string]string{"VAULT_ADDR": address, "VAULT_TOKEN": "token-that-nobody-prints"}, "temper", "sign", "--key", "hashivault://ecdsa-p256", document(t, dir, "{}"))
		require.Equal(t, 1, o.code)
		require.Contains(t, o.stderr, "permission denied")
		require.NotContains(t, o.stderr, "token-that-nobody-prints")
	})
	t.Run("not there", func(t *testing.T) {
		dir := t.TempDir()
		o := run(t, dir, map[string]string{"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": "root", "VAULT_MAX_RETRIES": "0"}, "temper", "sign", "--key", "hashivault://k", document(t, dir, "{}"))
		require.Equal(t, 1, o.code)
		require.Contains(t, o.stderr, "key management service hashivault://k: ")
		require.Contains(t, o.stderr, "connection refused")
	})
}

// A Kubernetes API that knows one secret and asks for a bearer token.
func TestKubernetesSecret(t *testing.T) {
	dir := t.TempDir()
	must(t, dir, nil, "cosign", "generate-key-pair")
	secret := map[string]any{
		"kind": "Secret", "apiVersion": "v1", "metadata": map[string]string{"name": "keys", "namespace": "ci"},
		"data": map[string]string{"cosign.key": encoded(t, dir, "cosign.key"), "cosign.pub": encoded(t, dir, "cosign.pub"), "cosign.password": base64.StdEncoding.EncodeToString([]byte(password))},
	}
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		status := func(code int, reason string) {
			w.WriteHeader(code)
			_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": reason})
		}
		switch {
		case r.Header.Get("Authorization") != "Bearer kube-token-that-nobody-prints":
			status(http.StatusForbidden, "Forbidden")
		case r.URL.Path != "/api/v1/namespaces/ci/secrets/keys":
			status(http.StatusNotFound, "NotFound")
		default:
			_ = json.NewEncoder(w).Encode(secret)
		}
	}))
	t.Cleanup(api.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw})
	config := func(token string) map[string]string {
		path := filepath.Join(t.TempDir(), "config")
		require.NoError(t, os.WriteFile(path, []byte(fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],`+
			`"clusters":[{"name":"c","cluster":{"server":%q,"certificate-authority-data":%q}}],"users":[{"name":"u","user":{"token":%q}}]}`,
			api.URL, base64.StdEncoding.EncodeToString(ca), token)), 0o600))
		// The secret has the password; the environment's is another.
		return map[string]string{"KUBECONFIG": path, "COSIGN_PASSWORD": "another"}
	}
	good := config("kube-token-that-nobody-prints")
	file := document(t, dir, "{}")
	must(t, dir, good, "temper", "sign", "--key", "k8s://ci/keys", file)
	must(t, dir, good, "temper", "verify-blob", "--key", "k8s://ci/keys", file)
	must(t, dir, nil, "cosign", "verify-blob", "--key", "cosign.pub", "--signature", file+".sig", "--insecure-ignore-tlog", file)

	o := run(t, dir, good, "temper", "sign", "--key", "k8s://ci/others", file)
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, "Kubernetes k8s://ci/others: ")
	require.Contains(t, o.stderr, "NotFound")
	o = run(t, dir, config("wrong"), "temper", "sign", "--key", "k8s://ci/keys", file)
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, "Forbidden")
	require.NotContains(t, o.stderr, "that-nobody-prints")
	o = run(t, dir, good, "temper", "sign", "--key", "k8s://ci", file)
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, "k8s://NAMESPACE/SECRET")
}

func encoded(t *testing.T, dir, name string) string {
	t.Helper()
	return base64.StdEncoding.EncodeToString([]byte(read(t, filepath.Join(dir, name))))
}

// softhsm is the PKCS#11 library of Debian's package softhsm2.
const softhsm = "/usr/lib/softhsm/libsofthsm2.so"

const tokenPIN = "pin-that-nobody-prints"

func TestPKCS11(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "tokens"), 0o700))
	conf := filepath.Join(dir, "softhsm2.conf")
	require.NoError(t, os.WriteFile(conf, []byte("directories.tokendir = "+filepath.Join(dir, "tokens")+"\nobjectstore.backend = file\nlog.level = ERROR\n"), 0o600))
	tool := func(name string, args ...string) {
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "SOFTHSM2_CONF="+conf)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", name, out)
	}
	tool("softhsm2-util", "--init-token", "--free", "--label", "temper", "--so-pin", rand.Text(), "--pin", tokenPIN)
	digests := map[string]string{"EC:prime256v1": "sha256", "EC:secp384r1": "sha384", "rsa:2048": "sha256"}
	env := map[string]string{"SOFTHSM2_CONF": conf, "AWS_SECRET_ACCESS_KEY": "no business of a token's"}
	n := 0
	for kind, digest := range digests {
		t.Run(kind, func(t *testing.T) {
			n++
			label := fmt.Sprintf("key%d", n)
			tool("pkcs11-tool", "--module", softhsm, "--login", "--pin", tokenPIN, "--token-label", "temper", "--keypairgen", "--key-type", kind, "--id", fmt.Sprintf("%02d", n), "--label", label)
			uri := "pkcs11:token=temper;object=" + label + "?module-path=" + softhsm
			with := maps.Clone(env)
			with["COSIGN_PKCS11_PIN"] = tokenPIN
			signAndJudge(t, t.TempDir(), with, uri, digest)
			signAndJudge(t, t.TempDir(), env, uri+"&pin-value="+tokenPIN, digest)
			file := filepath.Join(t.TempDir(), "pin")
			require.NoError(t, os.WriteFile(file, []byte(tokenPIN+"\n"), 0o600))
			signAndJudge(t, t.TempDir(), env, "pkcs11:token=temper;id=%"+fmt.Sprintf("%02d", n)+"?module-path="+softhsm+"&pin-source=file:"+file, digest)
		})
	}
	refused := func(uri, says string, extra map[string]string) {
		work, with := t.TempDir(), maps.Clone(env)
		maps.Copy(with, extra)
		o := run(t, work, with, "temper", "sign", "--key", uri, document(t, work, "{}"))
		require.Equal(t, 1, o.code)
		require.Contains(t, o.stderr, says)
		require.NotContains(t, o.stderr, "that-nobody-prints")
		require.NoFileExists(t, filepath.Join(work, "sbom.json.sig"))
	}
	key := "pkcs11:token=temper;object=key1?module-path=" + softhsm
	refused(key+"&pin-value=wrong-pin-that-nobody-prints", "CKR_PIN_INCORRECT", nil)
	refused(key, "is the PIN missing?", nil)
	refused("pkcs11:token=temper;object=none?module-path="+softhsm, "no key pair of that name", map[string]string{"COSIGN_PKCS11_PIN": tokenPIN})
	refused("pkcs11:token=temper;object=key1?module-path=softhsm.so", "it has to be absolute", nil)
	refused("pkcs11:token=temper;object=key1?module-path=/etc/hostname", "token", nil)
}

// What a token's library sees of our environment: no secrets but its PIN.
func TestPKCS11Environment(t *testing.T) {
	// A program of ours beside a copy of temper stands in for the real one.
	dir := t.TempDir()
	require.NoError(t, os.Link(tools.Path("temper"), filepath.Join(dir, "temper")))
	script := "#!/bin/sh\nenv > " + dir + "/seen\nprintf '%s\\n' \"$@\" >> " + dir + "/seen\necho '{\"errorMessage\":\"'\"$COSIGN_PKCS11_PIN\"' is no good\"}'\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sigstore-kms-pkcs11"), []byte(script), 0o700))
	document(t, dir, "{}")
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "temper"), "sign", "--key", "pkcs11:token=t;object=k?pin-value=4711", "sbom.json")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "COSIGN_PASSWORD=" + password, "AWS_SECRET_ACCESS_KEY=s3cr3t", "SIGSTORE_ID_TOKEN=t0k3n", "VENDOR_CONF=/etc/vendor"}
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "*** is no good")
	seen := read(t, filepath.Join(dir, "seen"))
	require.Contains(t, seen, "COSIGN_PKCS11_PIN=4711")
	require.Contains(t, seen, "VENDOR_CONF=/etc/vendor")
	require.Equal(t, 1, strings.Count(seen, "4711"), "the PIN is in no argument")
	for _, secret := range []string{password, "s3cr3t", "t0k3n"} {
		require.NotContains(t, seen, secret)
	}
}
