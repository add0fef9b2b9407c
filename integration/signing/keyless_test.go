package signing

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/fault"
	"github.com/temper-images/temper/integration/sigstore"
)

// token is a token for person in the variable that CI platforms use.
func token(t *testing.T, d *sigstore.Deployment, lifetime time.Duration) map[string]string {
	t.Helper()
	value, err := d.Token(person, lifetime)
	require.NoError(t, err)
	return map[string]string{"SIGSTORE_ID_TOKEN": value}
}

// identity are the flags that demand person's signature, for temper and cosign.
func identity(d *sigstore.Deployment) []string {
	return []string{"--certificate-identity", person, "--certificate-oidc-issuer", d.Issuer, "--trusted-root", d.TrustedRoot}
}

// cosignKeyless is how cosign verifies a bundle of the deployment, which has no
// certificate transparency log.
func cosignKeyless(d *sigstore.Deployment, file string) []string {
	return append([]string{"verify-blob", "--bundle", file + ".sigstore.json", "--new-bundle-format", "--use-signed-timestamps", "--insecure-ignore-sct"},
		append(identity(d), file)...)
}

func TestKeyless(t *testing.T) {
	d := sigstore.Shared(t)
	dir := t.TempDir()
	file := document(t, dir, statement)
	o := must(t, dir, token(t, d, time.Hour), "temper", "sign", "--signing-config", d.SigningConfig, "--trusted-root", d.TrustedRoot, file)
	require.Contains(t, o.stdout, "sbom.json.dsse.sigstore.json")
	verify := append([]string{"verify-blob"}, identity(d)...)
	o = must(t, dir, nil, "temper", append(verify, file)...)
	require.Contains(t, o.stdout, "signed by "+person+" ("+d.Issuer+")")
	for _, judge := range []string{"cosign", "cosign3"} {
		must(t, dir, nil, judge, cosignKeyless(d, file)...)
	}

	// The same without the configuration, by addresses.
	must(t, dir, token(t, d, time.Hour), "temper", "sign", "--fulcio-url", d.Fulcio, "--rekor-url", d.Rekor, "--rekor-version", "2", "--timestamp-url", d.Timestamp, file)
	must(t, dir, nil, "temper", append(verify, "--timestamp", file)...)

	// Somebody else's, a changed document, and a bundle without its log entry.
	stranger := run(t, dir, nil, "temper", "verify-blob", "--certificate-identity", "else@example.com", "--certificate-oidc-issuer", d.Issuer, "--trusted-root", d.TrustedRoot, file)
	require.Equal(t, 1, stranger.code)
	require.Contains(t, stranger.stderr, "signed by somebody else: the certificate is "+person+"'s")
	bundle := read(t, filepath.Join(dir, file+".sigstore.json"))
	begin, end := strings.Index(bundle, `,"tlogEntries":`), strings.Index(bundle, `,"timestampVerificationData":`)
	require.Positive(t, begin)
	require.Greater(t, end, begin)
	require.NoError(t, os.WriteFile(filepath.Join(dir, file+".sigstore.json"), []byte(bundle[:begin]+bundle[end:]), 0o600))
	unlogged := run(t, dir, nil, "temper", append(verify, file)...)
	require.Equal(t, 1, unlogged.code)
	require.Contains(t, unlogged.stderr, "not proven by the transparency log: the bundle has no entry of it")
	require.NoError(t, os.WriteFile(filepath.Join(dir, file+".sigstore.json"), []byte(bundle), 0o600))
	document(t, dir, statement+" ")
	changed := run(t, dir, nil, "temper", append(verify, file)...)
	require.Equal(t, 1, changed.code)
	require.Contains(t, changed.stderr, "changed after it was signed")
}

// cosign's keyless bundles from the same deployment.
func TestTemperVerifiesCosignKeyless(t *testing.T) {
	d := sigstore.Shared(t)
	dir := t.TempDir()
	file := document(t, dir, "{}")
	must(t, dir, token(t, d, time.Hour), "cosign3", "sign-blob", "--yes", "--signing-config", d.SigningConfig, "--trusted-root", d.TrustedRoot,
		"--bundle", file+".sigstore.json", file)
	must(t, dir, nil, "temper", append(append([]string{"verify-blob"}, identity(d)...), file)...)
}

// A key's signatures in the log, with a timestamp.
func TestKeyInLog(t *testing.T) {
	d := sigstore.Shared(t)
	dir := t.TempDir()
	file, plain := document(t, dir, "{}"), "plain.json"
	require.NoError(t, os.WriteFile(filepath.Join(dir, plain), []byte("[]"), 0o600))
	must(t, dir, nil, "temper", "key", "generate")
	must(t, dir, nil, "temper", "sign", "--key", "cosign.key", "--tlog=on", "--signing-config", d.SigningConfig, "--trusted-root", d.TrustedRoot, file)
	must(t, dir, nil, "temper", "sign", "--key", "cosign.key", plain)
	logged := []string{"verify-blob", "--key", "cosign.pub", "--tlog=on", "--timestamp", "--trusted-root", d.TrustedRoot}
	must(t, dir, nil, "temper", append(logged, file)...)
	for _, judge := range []string{"cosign", "cosign3"} {
		must(t, dir, nil, judge, "verify-blob", "--key", "cosign.pub", "--bundle", file+".sigstore.json", "--new-bundle-format", "--use-signed-timestamps",
			"--trusted-root", d.TrustedRoot, file)
	}
	o := run(t, dir, nil, "temper", append(logged, plain)...)
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, "the bundle has no entry of it")

	must(t, dir, nil, "temper", "key", "generate", "--algorithm", "ed25519", "--output-key-prefix", "ed")
	o = run(t, dir, nil, "temper", "sign", "--key", "ed.key", "--tlog=on", "--signing-config", d.SigningConfig, file)
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, "Use an ECDSA key, or turn the log off")
}

// Servers that are out of order are asked again, and then named; nothing is
// written.
func TestServerFaults(t *testing.T) {
	d := sigstore.Shared(t)
	proxies := map[string]*fault.Proxy{}
	address := map[string]string{}
	for name, url := range map[string]string{"fulcio": d.Fulcio, "rekor": d.Rekor, "timestamp": d.Timestamp} {
		host, _, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
		p, err := fault.Start(host, "")
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, p.Close()) })
		proxies[name], address[name] = p, strings.Replace(url, host, p.Addr, 1)
	}
	sign := func(t *testing.T, env map[string]string, timeout string) (outcome, string) {
		dir := t.TempDir()
		file := document(t, dir, "{}")
		return run(t, dir, env, "temper", "sign", "--fulcio-url", address["fulcio"], "--rekor-url", address["rekor"], "--rekor-version=2",
			"--timestamp-url", address["timestamp"], "--service-timeout", timeout, file), dir
	}
	called := map[string]string{"fulcio": "certificate authority ", "rekor": "transparency log ", "timestamp": "timestamp authority "}
	storm := fault.Reply(http.StatusServiceUnavailable, nil, "over capacity")
	for name, proxy := range proxies {
		for what, f := range map[string]struct {
			fault   fault.Fault
			timeout string
			says    string
		}{
			"storm":  {storm, "30s", "503"},
			"hangup": {fault.HangUp(0), "30s", "EOF"},
			"slow":   {fault.Wait(time.Minute), "5s", "no answer within 5s"},
			"cut":    {fault.CutAnswer, "30s", "unexpected EOF"},
			"lie":    {fault.Reply(http.StatusOK, nil, "no such thing"), "30s", ""},
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				proxy.Set(func(*http.Request) fault.Fault { return f.fault })
				defer proxy.Set(nil)
				o, dir := sign(t, token(t, d, time.Hour), f.timeout)
				require.Equal(t, 1, o.code)
				require.Contains(t, o.stderr, called[name]+address[name])
				require.Contains(t, o.stderr, f.says)
				left, err := filepath.Glob(filepath.Join(dir, "sbom.json.*"))
				require.NoError(t, err)
				require.Empty(t, left)
			})
		}
		t.Run(name+"/recovers", func(t *testing.T) {
			failures := 0
			proxy.Set(func(*http.Request) fault.Fault {
				if failures++; failures <= 2 {
					return storm
				}
				return nil
			})
			defer proxy.Set(nil)
			o, _ := sign(t, token(t, d, time.Hour), "30s")
			require.Zero(t, o.code, o.stderr)
		})
	}
	t.Run("expired token", func(t *testing.T) {
		o, _ := sign(t, token(t, d, -time.Minute), "30s")
		require.Equal(t, 1, o.code)
		require.Contains(t, o.stderr, "identity token: it expired at ")
		require.Contains(t, o.stderr, "by this machine's clock")
	})
	t.Run("no token", func(t *testing.T) {
		o, _ := sign(t, nil, "30s")
		require.Equal(t, 1, o.code)
		require.Contains(t, o.stderr, "set SIGSTORE_ID_TOKEN")
	})
	t.Run("token of nobody", func(t *testing.T) {
		o, _ := sign(t, map[string]string{"SIGSTORE_ID_TOKEN": strings.Replace(token(t, d, time.Hour)["SIGSTORE_ID_TOKEN"], ".", "x.", 1)}, "30s")
		require.Equal(t, 1, o.code)
		require.Contains(t, o.stderr, "certificate authority "+address["fulcio"])
	})
}
