package main

import (
	"github.com/spf13/cobra"
	"github.com/temper-images/temper/client/doctor"
	"github.com/temper-images/temper/client/frontend"
)

func newDoctor(bf *builderFlags) *cobra.Command {
	var asJSON bool
	var spec string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what temper finds on this machine and what is missing",
		Long: `Say which builders and which frontend temper finds on this machine, which it
would use, what is missing, and how to mend it. Nothing is started.

Exit codes: 0 when temper build can work here, 1 when not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := bf.options()
			if err != nil {
				return err
			}
			d := doctor.Examine(cmd.Context(), o, frontend.Options{Spec: spec})
			write := d.Write
			if asJSON {
				write = d.WriteJSON
			}
			if err := write(cmd.OutOrStdout()); err != nil {
				return err
			}
			if !d.Healthy {
				return codeError(exitFailed)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print JSON")
	cmd.Flags().StringVar(&spec, "frontend", "", "Temper frontend, as for temper build (environment: "+frontend.Env+")")
	return cmd
}
