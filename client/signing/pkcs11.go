package signing

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/common"

	"github.com/temper-images/temper/client/secretname"
)

// pkcs11Program loads the token vendor's library, which has to be loaded into a
// process. It is one of its own, so that the library is beside none of our
// secrets, and this program stays free of C.
const pkcs11Program = "sigstore-kms-pkcs11"

// pinEnv is where the program, as Cosign, looks for the token's PIN. Other than an
// argument, an environment is not for everybody to read.
const pinEnv = "COSIGN_PKCS11_PIN"

// maxReply bounds what the program answers and complains, in bytes.
const maxReply = 64 << 10

// token is a key in a PKCS#11 token.
type token struct {
	program string
	// uri has no PIN.
	uri string
	pin []byte
}

// openPKCS11 opens the key that a PKCS#11 URI (RFC 7512) names. The PIN is the
// URI's, or COSIGN_PKCS11_PIN, or what ask returns.
func openPKCS11(ctx context.Context, uri string, ask func(context.Context) ([]byte, error)) (*key, error) {
	program, err := findProgram(pkcs11Program)
	if err != nil {
		return nil, err
	}
	t := &token{program: program, uri: printable(uri)}
	if t.pin, err = pin(ctx, uri, ask); err != nil {
		return nil, err
	}
	reply, err := t.call(ctx, crypto.SHA256, &common.MethodArgs{MethodName: common.PublicKeyMethodName, PublicKey: &common.PublicKeyArgs{
		PublicKeyOptions: &common.PublicKeyOptions{},
	}})
	if err != nil {
		clear(t.pin)
		return nil, err
	}
	if reply.PublicKey == nil {
		clear(t.pin)
		return nil, fmt.Errorf("%s answered no public key", t.program)
	}
	pub, err := parsePublic(reply.PublicKey.PublicKeyPEM)
	if err != nil {
		clear(t.pin)
		return nil, fmt.Errorf("its public key: %w", err)
	}
	details, err := signature.GetDefaultAlgorithmDetails(pub)
	if err != nil {
		clear(t.pin)
		return nil, err
	}
	sign := func(ctx context.Context, data []byte) ([]byte, error) {
		return t.sign(ctx, details.GetHashType(), data)
	}
	return newKey(pub, sign, func() { clear(t.pin) })
}

func (t *token) sign(ctx context.Context, h crypto.Hash, data []byte) ([]byte, error) {
	if h == 0 {
		return nil, errors.New("Ed25519 keys in PKCS#11 tokens are not supported; use ECDSA or RSA")
	}
	hash := h.New()
	hash.Write(data)
	digest := hash.Sum(nil)
	reply, err := t.call(ctx, h, &common.MethodArgs{MethodName: common.SignMessageMethodName, SignMessage: &common.SignMessageArgs{
		SignOptions: &common.SignOptions{MessageOptions: common.MessageOptions{Digest: &digest, HashFunc: &h}},
	}})
	if err != nil {
		return nil, err
	}
	if reply.SignMessage == nil {
		return nil, fmt.Errorf("%s answered no signature", t.program)
	}
	return reply.SignMessage.Signature, nil
}

// call runs the program for one method of Sigstore's plugin protocol v1: settings
// and arguments as JSON in the second argument, the answer as JSON on stdout.
func (t *token) call(ctx context.Context, h crypto.Hash, args *common.MethodArgs) (*common.PluginResp, error) {
	request, err := json.Marshal(&common.PluginArgs{
		InitOptions: &common.InitOptions{ProtocolVersion: common.ProtocolVersion, KeyResourceID: strings.TrimPrefix(t.uri, schemePKCS11), HashFunc: h},
		MethodArgs:  args,
	})
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, t.program, common.ProtocolVersion, string(request))
	cmd.Env = t.environment()
	var stdout, stderr limited
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// Programs of this protocol say in their answer what went wrong.
	runErr := cmd.Run()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var reply common.PluginResp
	if err := json.Unmarshal(stdout.Bytes(), &reply); err != nil {
		said := strings.TrimSpace(stderr.String())
		return nil, fmt.Errorf("%s gave no answer (%w): %.500s", t.program, errors.Join(runErr, err), t.redact(said))
	}
	if reply.ErrorMessage != "" {
		return nil, fmt.Errorf("%.500s", t.redact(reply.ErrorMessage))
	}
	return &reply, nil
}

// environment is ours without what looks like a secret: the program loads code
// that is not ours.
func (t *token) environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == pinEnv || secretname.Likely(name)
	})
	if len(t.pin) > 0 {
		env = append(env, pinEnv+"="+string(t.pin))
	}
	return env
}

func (t *token) redact(s string) string {
	if len(t.pin) == 0 {
		return s
	}
	return strings.ReplaceAll(s, string(t.pin), "***")
}

// limited keeps the first bytes of what it is written.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if room := maxReply - l.Len(); room > 0 {
		l.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// findProgram finds a program beside this one, or on PATH.
func findProgram(name string) (string, error) {
	if self, err := os.Executable(); err == nil {
		path := filepath.Join(filepath.Dir(self), name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("keys in PKCS#11 tokens need the program %s, which is neither beside temper nor on PATH", name)
	}
	return path, nil
}

// pin finds the token's PIN.
func pin(ctx context.Context, uri string, ask func(context.Context) ([]byte, error)) ([]byte, error) {
	_, query, _ := strings.Cut(uri, "?")
	attributes, err := url.ParseQuery(strings.ReplaceAll(query, ";", "&"))
	if err != nil {
		// The error would quote the query, PIN and all.
		return nil, errors.New("its query is not percent-encoded as RFC 7512 has it")
	}
	if value := attributes.Get("pin-value"); value != "" {
		return []byte(value), nil
	}
	if source := attributes.Get("pin-source"); source != "" {
		data, err := readFile(strings.TrimPrefix(strings.TrimPrefix(source, "file:"), "//"), 4<<10)
		if err != nil {
			return nil, fmt.Errorf("read its PIN: %w", err)
		}
		return bytes.TrimRight(data, "\r\n"), nil
	}
	if value := os.Getenv(pinEnv); value != "" {
		return []byte(value), nil
	}
	if ask == nil {
		return nil, nil
	}
	value, err := ask(ctx)
	if err != nil {
		return nil, fmt.Errorf("read its PIN: %w", err)
	}
	return value, nil
}
