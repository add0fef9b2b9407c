package main

import (
	"os"

	"github.com/spf13/pflag"
	"github.com/temper-images/temper/client/build"
	"github.com/temper-images/temper/client/builder"
	"github.com/temper-images/temper/client/daemon"
)

// builderFlags choose a builder; all commands have them.
type builderFlags struct {
	address  string
	tls      builder.TLS
	tlsDir   string
	stateDir string
}

func (f *builderFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.address, "builder", os.Getenv("BUILDKIT_HOST"),
		`BuildKit to use: unix://, tcp://, ssh://, docker-container://, podman-container://, nerdctl-container:// or kube-pod:// address, or "ephemeral" for a buildkitd of temper's own (environment: BUILDKIT_HOST; default: the first that answers of a running buildkitd, the Docker engine, a buildkitd of temper's own)`)
	flags.StringVar(&f.tls.CACert, "tlscacert", "", "CA certificate of a tcp:// builder")
	flags.StringVar(&f.tls.Cert, "tlscert", "", "Client certificate for a tcp:// builder")
	flags.StringVar(&f.tls.Key, "tlskey", "", "Client key for a tcp:// builder")
	flags.StringVar(&f.tls.ServerName, "tlsservername", "", "Name in the certificate of a tcp:// builder (default: its host)")
	flags.StringVar(&f.tlsDir, "tlsdir", "", "Directory with ca.pem, cert.pem and key.pem, or ca.crt, tls.crt and tls.key, for a tcp:// builder")
	flags.StringVar(&f.stateDir, "state-dir", os.Getenv("TEMPER_STATE_DIR"),
		"State and build cache of temper's own buildkitd (environment: TEMPER_STATE_DIR; default: /var/lib/temper for root, else ~/.local/state/temper)")
}

func (f *builderFlags) options() (builder.Options, error) {
	o := builder.Options{Address: f.address, TLS: f.tls, Daemon: daemon.Config{StateDir: f.stateDir}}
	if f.tlsDir != "" {
		t, err := builder.TLSFromDir(f.tlsDir)
		if err != nil {
			return o, &build.InputError{Err: err}
		}
		t.ServerName = f.tls.ServerName
		for _, over := range []struct{ dst, src *string }{
			{&t.CACert, &f.tls.CACert}, {&t.Cert, &f.tls.Cert}, {&t.Key, &f.tls.Key},
		} {
			if *over.src != "" {
				*over.dst = *over.src
			}
		}
		o.TLS = t
	}
	return o, nil
}
