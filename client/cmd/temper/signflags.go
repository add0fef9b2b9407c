package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/temper-images/temper/client/signing"
)

// The environment's names for what opens keys, which are Cosign's.
const (
	passwordEnv = "COSIGN_PASSWORD"
	pinEnv      = "COSIGN_PKCS11_PIN"
)

// deploymentFlags choose the servers and the trust of a Sigstore deployment.
type deploymentFlags struct{ signing.Deployment }

// add defines the flags about what is trusted, and with servers those about whom
// to ask.
func (f *deploymentFlags) add(flags *pflag.FlagSet, servers bool) {
	d := &f.Deployment
	flags.StringVar(&d.TrustedRoot, "trusted-root", "", "File with the keys and certificates of the Sigstore deployment (default: the public deployment's, by TUF)")
	flags.StringVar(&d.TUFMirror, "tuf-mirror", "", "TUF repository of a private deployment")
	flags.StringVar(&d.TUFRoot, "tuf-root", "", "File with the first root metadata of --tuf-mirror")
	if !servers {
		return
	}
	flags.StringVar(&d.SigningConfig, "signing-config", "", "File with the addresses of the Sigstore deployment")
	flags.StringVar(&d.Fulcio, "fulcio-url", "", "Certificate authority for keyless signing")
	flags.StringVar(&d.Rekor, "rekor-url", "", "Transparency log")
	flags.Uint32Var(&d.RekorVersion, "rekor-version", 1, "Version of the API at --rekor-url, 1 or 2")
	flags.StringArrayVar(&d.Timestamps, "timestamp-url", nil, "Timestamp authority (RFC 3161), with its path")
}

// signFlags say who signs and how.
type signFlags struct {
	deploymentFlags
	key, tlog, tokenFile string
	timeout              time.Duration
}

func (f *signFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.key, "key", "", "Key: a file, env://NAME, k8s://NAMESPACE/SECRET, pkcs11:…, awskms://…, gcpkms://…, azurekms://…, hashivault://… (default: keyless)")
	flags.StringVar(&f.tlog, "tlog", "", "Enter signatures in the transparency log, on or off (default: off with a key, on keyless)")
	flags.StringVar(&f.tokenFile, "identity-token-file", "", "File with the OpenID Connect token for keyless signing (default: SIGSTORE_ID_TOKEN, or what the CI platform gives)")
	flags.DurationVar(&f.timeout, "service-timeout", 30*time.Second, "How long each request to a server of Sigstore may take")
	f.deploymentFlags.add(flags, true)
}

// options are the signer's. Secrets are asked of the environment, else on the
// terminal.
func (f *signFlags) options(stdin io.Reader, stderr io.Writer) (signing.Options, error) {
	tlog, err := signing.ParseTLog(f.tlog)
	if err != nil {
		return signing.Options{}, &signing.ConfigurationError{Err: fmt.Errorf("--tlog: %w", err)}
	}
	ask := asker{stdin, stderr}
	return signing.Options{
		Key:         f.key,
		Password:    ask.secret(passwordEnv, "Password of the key: "),
		PIN:         ask.secret(pinEnv, "PIN of the token: "),
		TLog:        tlog,
		Sigstore:    f.Deployment,
		IDTokenFile: f.tokenFile,
		Timeout:     f.timeout,
	}, nil
}

// asker reads secrets from the terminal.
type asker struct {
	stdin  io.Reader
	stderr io.Writer
}

// secret returns a function that reads a secret from a variable, else from the
// terminal. Without a terminal there is none.
func (a asker) secret(variable, prompt string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) {
		if value, set := os.LookupEnv(variable); set {
			return []byte(value), nil
		}
		return a.prompt(prompt)
	}
}

func (a asker) prompt(prompt string) ([]byte, error) {
	file, is := a.stdin.(*os.File)
	if !is || !term.IsTerminal(int(file.Fd())) {
		return nil, nil
	}
	fmt.Fprint(a.stderr, prompt)
	defer fmt.Fprintln(a.stderr)
	return term.ReadPassword(int(file.Fd()))
}

// newPassword asks for the password of a new key, twice on a terminal.
func (a asker) newPassword() ([]byte, error) {
	if value, set := os.LookupEnv(passwordEnv); set {
		return []byte(value), nil
	}
	first, err := a.prompt("Password of the new key (empty for none): ")
	if err != nil {
		return nil, err
	}
	if first == nil {
		return nil, &signing.ConfigurationError{Err: errors.New("a new key wants a password, and there is no terminal to ask for it: set " + passwordEnv + " (empty for none)")}
	}
	second, err := a.prompt("The password again: ")
	if err != nil {
		clear(first)
		return nil, err
	}
	defer clear(second)
	if !bytes.Equal(first, second) {
		clear(first)
		return nil, &signing.ConfigurationError{Err: errors.New("the two passwords differ")}
	}
	return first, nil
}
