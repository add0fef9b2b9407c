package report_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
	digest "github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/gate"
	"github.com/temper-images/temper/client/report"
	"github.com/temper-images/temper/client/report/reporttest"
)

func read(t testing.TB, docs []artifact.Artifact) *report.Release {
	t.Helper()
	r, err := report.Read(docs)
	require.NoError(t, err)
	return r
}

func write(t testing.TB, r *report.Release) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, r.Write(&b, report.Options{Version: "1.2.3"}))
	return b.String()
}

// text is what a page says, without what is markup or only for machines, with
// single spaces.
func text(t testing.TB, page string) string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	require.NoError(t, err)
	var b strings.Builder
	for n := range root.Descendants() {
		if n.Type == html.TextNode && n.Parent.Data != "style" {
			b.WriteString(n.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// says is require.Contains with a message that does not repeat the page.
func says(t testing.TB, said, want string) {
	t.Helper()
	if !strings.Contains(said, want) {
		t.Errorf("the page does not say %q", want)
	}
}

func TestPageSaysWhatTheDocumentsSay(t *testing.T) {
	r := read(t, reporttest.Release(t, 0, 0))
	require.Len(t, r.Images, 1)
	img := r.Images[0]
	require.Equal(t, "app", img.Name)
	require.Equal(t, "amd64", img.Arch)
	require.Equal(t, "linux/amd64", img.Platform)
	require.Equal(t, "registry.example.com/team/app:1.4", img.Reference)
	require.EqualValues(t, reporttest.Digest, img.Digest)
	require.Empty(t, img.Problems)
	said := text(t, write(t, r))
	for _, want := range []string{
		"Release report registry.example.com/team/app:1.4", reporttest.Digest,
		"Vulnerabilities refused 1 vulnerability that the policy does not allow",
		"Image itself warning 1 warning about", "Hardening checked level exclusive, 4 promises kept", "Tests passed 3 passed, 0 failed",
		"Signatures some 8 of 9 documents are signed",
		"Size of the files 172 MB 108 MB −37 %", "Set-uid files 11 0 −100 %",
		"apt is a package manager → led to only apt needs libapt-pkg6.0 → led to only libapt-pkg6.0 needs libstdc++6",
		"CVE-2026-0001 exploited Critical libexpat1 2.5.0-1 2.5.0-1+deb12u1 42.0 % counts it is known to be exploited since 2026-02-20",
		"excepted until 2026-06-30: the update breaks", "3 more vulnerabilities are gone: they were in 2 packages",
		"CVE-2026-0099 python3-werkzeug team.openvex.json team.openvex.json says not_affected (vulnerable_code_not_in_execute_path)",
		"file.setuid high /usr/bin/ping runs as user 0", "excepted health check",
		"71 packages, 3 of them without a licence", "LGPL-2.1-or-later 22",
		"16 packages with 26 dependencies", "answers on 8080",
		"https://github.com/team/app/.github/workflows/release.yml@refs/tags/v1", "workflow.platform github-actions",
		"buildArgs.TOKEN (value not stated)", "pkg:deb/debian/openssl@3.0.17-1~deb12u2?arch=amd64",
		"test-app-amd64.json test 152 B not signed", "by key 3q2+7w==",
		"temper evidence verify --key cosign.pub " + reporttest.Digest,
		"cosign verify-blob --key cosign.pub --insecure-ignore-tlog --bundle attestation-app-amd64.json.sigstore.json attestation-app-amd64.json",
		"sha256sum --check",
	} {
		says(t, said, want)
	}
}

func TestEqualDocumentsGiveEqualPages(t *testing.T) {
	docs := reporttest.Release(t, 30, 30)
	want := write(t, read(t, docs))
	slices.Reverse(docs)
	require.Equal(t, want, write(t, read(t, docs)))
}

func TestSeveralPlatforms(t *testing.T) {
	var docs []artifact.Artifact
	for _, d := range reporttest.Release(t, 0, 0) {
		other := d
		other.Name = strings.Replace(d.Name, "-amd64", "-arm-v7", 1)
		other.Data = bytes.ReplaceAll(d.Data, []byte("linux/amd64"), []byte("linux/arm/v7"))
		docs = append(docs, d, other)
	}
	r := read(t, docs)
	require.Len(t, r.Images, 2)
	require.Equal(t, "linux/arm/v7", r.Images[1].Platform)
	require.Equal(t, "arm-v7", r.Images[1].Arch)
	page := write(t, r)
	require.Contains(t, page, `<h2 class="image-title" id="i2-title">linux/arm/v7</h2>`)
	says(t, text(t, page), "linux/arm/v7 Refused: 1 vulnerability that the policy does not allow.")
	checkMarkup(t, page)
}

func TestWhatIsNotThereIsSaid(t *testing.T) {
	r := read(t, []artifact.Artifact{{Name: "sbom-my-app-arm-v7.spdx.json", Data: []byte("{}")}})
	require.Equal(t, "my-app", r.Images[0].Name)
	require.Equal(t, "arm-v7", r.Images[0].Arch)
	require.Equal(t, "linux/arm/v7", r.Images[0].Platform)
	page := write(t, r)
	checkMarkup(t, page)
	said := text(t, page)
	for _, want := range []string{"not scanned", "not inspected", "none of 1 document is signed", "nothing says how the image was built", "No document says how the image was built."} {
		says(t, said, want)
	}
	_, err := report.Read([]artifact.Artifact{{Name: "readme.txt"}})
	require.ErrorContains(t, err, "there are no documents of evidence")
}

func TestWhatDoesNotFitIsSaid(t *testing.T) {
	docs := reporttest.Release(t, 0, 0)
	for i := range docs {
		switch docs[i].Name {
		case "inspect-app-amd64.json":
			docs[i].Data = bytes.ReplaceAll(docs[i].Data, []byte(reporttest.Digest), []byte(digest.FromString("another image")))
		case "hardening-app-amd64.json", "vex-app-amd64.openvex.json", "sbom-app-amd64.spdx.json.sigstore.json":
			docs[i].Data = []byte("{")
		case "scan-app-amd64.json":
			docs[i].Data = []byte("{}")
		}
	}
	docs = append(docs, artifact.Artifact{Name: "test-app-amd64.json", Data: []byte(`{"result":"FAILED"}`)})
	r := read(t, docs)
	problems := strings.Join(r.Images[0].Problems, "\n")
	for _, want := range []string{
		"the documents are about different images: the inspection: sha256:", "hardening-app-amd64.json: decode hardening report",
		"vex-app-amd64.openvex.json: it is no VEX document", "scan-app-amd64.json: it is no document of Grype",
		"sbom-app-amd64.spdx.json: the bundle sbom-app-amd64.spdx.json.sigstore.json cannot be read",
		"there are two documents of the name test-app-amd64.json",
	} {
		require.Contains(t, problems, want)
	}
	page := write(t, r)
	checkMarkup(t, page)
	says(t, text(t, page), "These documents do not fit together")
}

func TestScanWithoutGate(t *testing.T) {
	r := read(t, []artifact.Artifact{{Name: "scan-app-amd64.json", Data: []byte(`{"matches":[
		{"vulnerability":{"id":"CVE-1","severity":"High","fix":{"versions":["2"],"state":"fixed"},"epss":[{"epss":0.5}],"knownExploited":[{"dateAdded":"2026-01-01"}]},"artifact":{"name":"x","version":"1"}},
		{"vulnerability":{"id":"CVE-2","severity":"Sideways"},"artifact":{"name":"x","version":"1"}}]}`)}})
	said := text(t, write(t, r))
	says(t, said, "not judged 2 found by the scan, and no gate was asked")
	says(t, said, "CVE-1 exploited High x 1 2 50.0 % not judged")
	says(t, said, "CVE-2 Unknown x 1 no fix not judged")
}

// keyless is a bundle with a certificate in place of a key.
func keyless(cert []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"certificate":{"rawBytes":%q},"tlogEntries":[{}],`+
		`"timestampVerificationData":{"rfc3161Timestamps":[{}]}}}`, base64.StdEncoding.EncodeToString(cert))
	return b.Bytes()
}

func TestKeylessSignature(t *testing.T) {
	docs := reporttest.Release(t, 0, 0)
	identity := "o'brien;id@example.com"
	cert := certificate(t, identity, "https://token.actions.githubusercontent.com")
	for i := range docs {
		if strings.HasSuffix(docs[i].Name, artifact.BundleSuffix) {
			docs[i].Data = keyless(cert)
		}
	}
	r := read(t, docs)
	b := r.Images[0].Documents[0].Bundle
	require.Equal(t, "https://token.actions.githubusercontent.com", b.Issuer)
	require.True(t, b.Logged)
	require.True(t, b.Timestamped)
	page := write(t, r)
	// The name in the certificate is hostile, and the line is for a shell.
	says(t, text(t, page), `cosign verify-blob --certificate-identity 'o'\''brien;id@example.com' --certificate-oidc-issuer https://token.actions.githubusercontent.com --bundle`)
	checkMarkup(t, page)
}

func certificate(t *testing.T, identity, issuer string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	value, err := asn1.MarshalWithParams(issuer, "utf8")
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{}, EmailAddresses: []string{identity},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: value}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return der
}

// However much there is, the page stays one that a browser shows at once, and says
// what it leaves out.
func TestBounds(t *testing.T) {
	r := read(t, reporttest.Release(t, 8000, 20_000))
	page := write(t, r)
	require.Less(t, len(page), 700_000)
	checkMarkup(t, page)
	said := text(t, page)
	for _, want := range []string{
		"19,857 findings that matter less are not shown; the documents gate-app-amd64.json",
		"7,950 smaller groups with 7,950 files and", "packages with dependencies are not shown; the document sbom-app-amd64.cdx.json has them.",
		"7,702 more are not shown.",
	} {
		says(t, said, want)
	}
}

// hostile is what an attacker would call a package.
const hostile = `"'><script>alert(1)</script><img src=x onerror=alert(1)></style></title></svg>--><a href="javascript:alert(1)">{{.}}` + "\x00\x1b[31m\u202e"

// Every text of every document is what an attacker chose.
func TestHostileTexts(t *testing.T) {
	r := read(t, reporttest.Release(t, 3, 3))
	poison(reflect.ValueOf(r), map[uintptr]bool{})
	page := write(t, r)
	checkMarkup(t, page)
	require.NotContains(t, page, "<script")
	require.Contains(t, page, "&lt;script&gt;")
}

// poison replaces the texts behind a value, but for those that choose what is shown.
func poison(v reflect.Value, seen map[uintptr]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || seen[v.Pointer()] {
			return
		}
		seen[v.Pointer()] = true
		poison(v.Elem(), seen)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[gate.Result]() || v.Type() == reflect.TypeFor[cyclonedx.BOM]() {
			seen[0] = true
		}
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if !v.Field(i).CanSet() || slices.Contains([]string{"BOMRef", "Ref", "Verdict", "Type", "Action", "State", "Status", "Justification", "Digest", "Mode"}, name) {
				continue
			}
			if v.Type() == reflect.TypeFor[cyclonedx.Dependency]() {
				continue
			}
			poison(v.Field(i), seen)
		}
	case reflect.Slice:
		for i := range v.Len() {
			poison(v.Index(i), seen)
		}
	case reflect.Map:
		if v.Type().Elem().Kind() == reflect.String {
			for _, k := range v.MapKeys() {
				v.SetMapIndex(k, reflect.ValueOf(hostile).Convert(v.Type().Elem()))
			}
		} else {
			for _, k := range v.MapKeys() {
				poison(v.MapIndex(k), seen)
			}
		}
	case reflect.Interface:
		poison(v.Elem(), seen)
	case reflect.String:
		if v.CanSet() {
			v.SetString(hostile)
		}
	}
}

// allowed are the elements of a page, and attributes what they may have.
var allowed = strings.Fields(`html head meta title style body header nav main footer section div p h1 h2 h3 h4 a ul li dl dt dd
	table caption thead tbody tr th td details summary figure figcaption code pre span strong br
	svg g rect text title desc path`)

var attributes = strings.Fields(`lang charset http-equiv content name id class href rel role tabindex scope aria-label aria-labelledby aria-hidden
	viewBox viewbox preserveAspectRatio x y dx dy width height rx d`)

// checkMarkup says that a page has nothing but the markup that it is meant to
// have, that its anchors lead somewhere, and that identifiers are used once.
func checkMarkup(t testing.TB, page string) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	require.NoError(t, err)
	ids := map[string]bool{}
	var refs []string
	for n := range root.Descendants() {
		if n.Type == html.CommentNode {
			t.Fatalf("a comment: %q", n.Data)
		}
		if n.Type != html.ElementNode {
			continue
		}
		require.Contains(t, allowed, n.Data)
		for _, a := range n.Attr {
			require.Contains(t, attributes, a.Key, "an attribute of %s", n.Data)
			switch a.Key {
			case "id":
				require.False(t, ids[a.Val], "the identifier %s is used twice", a.Val)
				ids[a.Val] = true
			case "aria-labelledby":
				refs = append(refs, strings.Fields(a.Val)...)
			case "href":
				if strings.HasPrefix(a.Val, "#") {
					refs = append(refs, a.Val[1:])
					continue
				}
				u, err := url.Parse(a.Val)
				require.NoError(t, err)
				require.Contains(t, []string{"https", "http", ""}, u.Scheme, "%s", a.Val)
			}
		}
	}
	for _, ref := range refs {
		require.True(t, ids[ref] || ref == "ZgotmplZ", "nothing has the identifier %q", ref)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	docs := reporttest.Release(t, 0, 0)
	for i, d := range docs {
		// As a store has them, and loose.
		name := filepath.Join(dir, d.Name)
		if i%2 == 0 {
			name = filepath.Join(dir, "scans/amd64/sha256-x", d.Name)
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, d.Data, 0o644))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("x"), 0o644))
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "gate-other-amd64.json")))
	r, err := report.Load(t.Context(), dir)
	require.NoError(t, err)
	require.Equal(t, write(t, read(t, docs)), write(t, r))

	_, err = report.Load(t.Context(), t.TempDir())
	require.ErrorContains(t, err, "there are no documents, such as sbom-NAME-ARCH.cdx.json")
	_, err = report.Load(t.Context(), filepath.Join(dir, "nowhere"))
	require.ErrorIs(t, err, os.ErrNotExist)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = report.Load(ctx, dir)
	require.ErrorIs(t, err, context.Canceled)
}

func FuzzRead(f *testing.F) {
	for _, d := range reporttest.Release(f, 1, 1) {
		f.Add(d.Name, d.Data)
	}
	f.Add("scan-x-amd64.json", []byte(`{"matches":[{}]}`))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		docs := []artifact.Artifact{{Name: "sbom-x-amd64.spdx.json", Data: []byte("{}")}, {Name: name, Data: data}}
		r, err := report.Read(docs)
		if err != nil {
			return
		}
		checkMarkup(t, write(t, r))
	})
}
