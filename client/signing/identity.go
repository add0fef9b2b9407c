package signing

import (
	"crypto/x509"
	"fmt"

	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// Identity is somebody whom Fulcio certifies: a workflow, a service account, a
// person. Of each pair one is set; the patterns are regular expressions (RE2) that
// have to match the whole.
type Identity struct {
	// Subject is the certificate's alternative name: an e-mail address or a URI,
	// as "https://github.com/team/app/.github/workflows/release.yml@refs/tags/v1".
	Subject, SubjectPattern string
	// Issuer is who vouched for the subject, as
	// "https://token.actions.githubusercontent.com".
	Issuer, IssuerPattern string
}

func (i Identity) certificateIdentity() (verify.CertificateIdentity, error) {
	if i.Subject == "" && i.SubjectPattern == "" || i.Issuer == "" && i.IssuerPattern == "" {
		return verify.CertificateIdentity{}, configurationErrorf("an identity is a subject and the issuer who vouches for it; one alone could be anybody's")
	}
	id, err := verify.NewShortCertificateIdentity(i.Issuer, whole(i.IssuerPattern), i.Subject, whole(i.SubjectPattern))
	if err != nil {
		return id, configurationErrorf("identity: %w", err)
	}
	return id, nil
}

// whole makes a pattern match from beginning to end.
func whole(pattern string) string {
	if pattern == "" {
		return ""
	}
	return "^(?:" + pattern + ")$"
}

func (i Identity) policy() (verify.PolicyOption, error) {
	id, err := i.certificateIdentity()
	if err != nil {
		return nil, err
	}
	return verify.WithCertificateIdentity(id), nil
}

// matches says whether a certificate is the identity's. It trusts the certificate.
func (i Identity) matches(cert *x509.Certificate) bool {
	id, err := i.certificateIdentity()
	if err != nil {
		return false
	}
	summary, err := certificate.SummarizeCertificate(cert)
	if err != nil {
		return false
	}
	return id.Verify(summary) == nil
}

// certified says whom a certificate names.
func certified(cert *x509.Certificate) string {
	summary, err := certificate.SummarizeCertificate(cert)
	if err != nil {
		return "not one of Fulcio's"
	}
	return fmt.Sprintf("%s's, vouched for by %s", summary.SubjectAlternativeName, summary.Issuer)
}
