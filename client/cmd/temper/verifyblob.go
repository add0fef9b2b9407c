package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/temper-images/temper/client/signing"
)

// verifyFlags say whose signatures are accepted.
type verifyFlags struct {
	deploymentFlags
	key, tlog string
	identity  signing.Identity
	timestamp bool
}

func (f *verifyFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.key, "key", "", "Public key, as for temper sign")
	flags.StringVar(&f.identity.Subject, "certificate-identity", "", "Whose keyless signatures are accepted")
	flags.StringVar(&f.identity.SubjectPattern, "certificate-identity-regexp", "", "The same as a regular expression, for the whole name")
	flags.StringVar(&f.identity.Issuer, "certificate-oidc-issuer", "", "Who vouches for the identity")
	flags.StringVar(&f.identity.IssuerPattern, "certificate-oidc-issuer-regexp", "", "The same as a regular expression, for the whole address")
	flags.StringVar(&f.tlog, "tlog", "", "Demand an entry in the transparency log, on or off (default: off with a key, on with an identity)")
	flags.BoolVar(&f.timestamp, "timestamp", false, "Demand the time of an RFC 3161 authority")
	f.deploymentFlags.add(flags, false)
}

func (f *verifyFlags) options(ask asker) (signing.VerifyOptions, error) {
	tlog, err := signing.ParseTLog(f.tlog)
	if err != nil {
		return signing.VerifyOptions{}, &signing.ConfigurationError{Err: fmt.Errorf("--tlog: %w", err)}
	}
	o := signing.VerifyOptions{Key: f.key, PIN: ask.secret(pinEnv, "PIN of the token: "), TLog: tlog, Timestamp: f.timestamp, Sigstore: f.Deployment}
	if f.identity != (signing.Identity{}) {
		o.Identities = []signing.Identity{f.identity}
	}
	return o, nil
}

func newVerifyBlob() *cobra.Command {
	var f verifyFlags
	var dir string
	cmd := &cobra.Command{
		Use:   "verify-blob [flags] FILE…",
		Short: "Verify the signatures of files",
		Long: `Verify files with what lies beside each: FILE.sig, FILE.sigstore.json, or both,
made by temper sign or by cosign sign-blob.

Exit codes: 0 when all files are signed as demanded, 1 when one is not.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := f.options(asker{cmd.InOrStdin(), cmd.ErrOrStderr()})
			if err != nil {
				return err
			}
			v, err := signing.NewVerifier(cmd.Context(), o)
			if err != nil {
				return err
			}
			var errs []error
			for _, path := range args {
				result, err := v.VerifyFile(cmd.Context(), path, dir)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: signed by %s\n", path, result.Signer)
			}
			return errors.Join(errs...)
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().StringVar(&dir, "signatures", "", "Directory of the signatures (default: beside FILE)")
	return cmd
}
