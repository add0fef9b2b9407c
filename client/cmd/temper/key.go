package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/temper-images/temper/client/signing"
)

func newKey() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make and show signing keys",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(newKeyGenerate(), newKeyPublic())
	return cmd
}

func newKeyGenerate() *cobra.Command {
	var prefix, algorithm, kms string
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Make a key pair, as Cosign makes it",
		Long: `Make a key pair and write it as Cosign does: PREFIX.key, encrypted with the
password and readable for its owner alone, and PREFIX.pub. Existing files are
never overwritten. The password comes from COSIGN_PASSWORD, or is asked twice.

With --kms the key is made in a key management service, which keeps its private
half; only PREFIX.pub is written.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if kms != "" {
				public, err := signing.CreateKMS(cmd.Context(), kms)
				if err != nil {
					return err
				}
				if err := signing.WritePublic(prefix, public); err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), prefix+".pub")
				return nil
			}
			password, err := asker{cmd.InOrStdin(), cmd.ErrOrStderr()}.newPassword()
			if err != nil {
				return err
			}
			defer clear(password)
			pair, err := signing.Generate(algorithm, password)
			if err != nil {
				return err
			}
			if err := pair.Write(prefix); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%[1]s.key\n%[1]s.pub\n", prefix)
			return nil
		},
	}
	cmd.Flags().StringVar(&prefix, "output-key-prefix", "cosign", "Path of the files without .key and .pub")
	cmd.Flags().StringVar(&algorithm, "algorithm", signing.DefaultAlgorithm, "Kind of key: "+strings.Join(signing.Algorithms(), ", "))
	cmd.Flags().StringVar(&kms, "kms", "", "Make the key in a service: awskms://…, gcpkms://…, azurekms://…, hashivault://…")
	cmd.MarkFlagsMutuallyExclusive("kms", "algorithm")
	return cmd
}

func newKeyPublic() *cobra.Command {
	var ref string
	cmd := &cobra.Command{
		Use:   "public --key KEYREF",
		Short: "Print the public half of a key",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ask := asker{cmd.InOrStdin(), cmd.ErrOrStderr()}
			public, err := signing.PublicKey(cmd.Context(), signing.Options{
				Key:      ref,
				Password: ask.secret(passwordEnv, "Password of the key: "),
				PIN:      ask.secret(pinEnv, "PIN of the token: "),
			})
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(public)
			return err
		},
	}
	cmd.Flags().StringVar(&ref, "key", "", "Key, as for temper sign")
	if err := cmd.MarkFlagRequired("key"); err != nil {
		panic(err)
	}
	return cmd
}
