package report

import (
	"cmp"
	"strings"

	digest "github.com/opencontainers/go-digest"
)

// command is a command line and what it shows.
type command struct{ What, Line string }

// commands are what checks the documents and the image. They are for a shell.
func (v *view) commands() []command {
	var out []command
	var signed *Document
	for _, d := range v.Documents {
		// The provenance names all others by digest, so that its signature is the one
		// to begin with.
		if d.Bundle != nil && (signed == nil || strings.HasPrefix(d.Name, "attestation-")) {
			signed = d
		}
	}
	name := v.Reference
	if v.Digest.Validate() == nil {
		name = string(v.Digest)
	}
	verify := "temper evidence verify"
	if v.Options.Store != "" {
		verify += " --evidence " + quote(v.Options.Store)
	}
	if name != "" {
		line := verify
		if signed != nil {
			line += signed.Bundle.flags(v.Options, "--")
		}
		out = append(out, command{"All documents in the evidence store: complete, unchanged, signed", line + " " + quote(name)})
	}
	if signed != nil {
		line := "cosign verify-blob" + signed.Bundle.flags(v.Options, "--")
		if !signed.Bundle.Logged {
			line += " --insecure-ignore-tlog"
		}
		out = append(out, command{
			"One document by its bundle, with Cosign; the others likewise",
			line + " --bundle " + quote(signed.Name+".sigstore.json") + " " + quote(signed.Name),
		})
	}
	var sums strings.Builder
	for _, d := range v.Documents {
		if d.Digest.Algorithm() == digest.SHA256 {
			sums.WriteString(d.Digest.Encoded() + "  " + d.Name + "\n")
		}
	}
	if sums.Len() > 0 {
		out = append(out, command{"That files are the ones on this page", "sha256sum --check <<'END'\n" + sums.String() + "END"})
	}
	return out
}

// flags are the flags of cosign and temper that say who must have signed.
func (b *Bundle) flags(o Options, dashes string) string {
	if b.Identity != "" {
		return " " + dashes + "certificate-identity " + quote(b.Identity) + " " + dashes + "certificate-oidc-issuer " + quote(b.Issuer)
	}
	return " " + dashes + "key " + quote(cmp.Or(o.Key, "cosign.pub"))
}

// quote makes a word of a shell.
func quote(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' {
			return -1
		}
		return r
	}, s)
	if s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@%+=:,./_-") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
