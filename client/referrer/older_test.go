package referrer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/temper-images/temper/client/signing"
)

// edit changes a bundle.
func edit(t testing.TB, data []byte, change func(*protobundle.Bundle)) []byte {
	t.Helper()
	b, err := parseBundle(data)
	require.NoError(t, err)
	change(b)
	made, err := protojson.Marshal(b)
	require.NoError(t, err)
	return made
}

// certificate is a self-signed one, DER.
func certificate(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, key.Public(), key)
	require.NoError(t, err)
	return der
}

const (
	bodyDSSE   = `{"apiVersion":"0.0.1","kind":"dsse","spec":{}}`
	bodyRecord = `{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha512","value":"00"}}}}`
)

// logged enters a bundle in a log of version 1, or of version 2.
func logged(body string, version int) func(*protobundle.Bundle) {
	return func(b *protobundle.Bundle) {
		e := &protorekor.TransparencyLogEntry{LogIndex: 5, LogId: &protocommon.LogId{KeyId: []byte{0xab, 0xcd}},
			KindVersion: &protorekor.KindVersion{}, CanonicalizedBody: []byte(body)}
		if version == 1 {
			e.IntegratedTime, e.InclusionPromise = 1700000000, &protorekor.InclusionPromise{SignedEntryTimestamp: []byte("promise")}
		}
		b.VerificationMaterial.TlogEntries = append(b.VerificationMaterial.TlogEntries, e)
	}
}

func certified(der []byte) func(*protobundle.Bundle) {
	return func(b *protobundle.Bundle) {
		b.VerificationMaterial.Content = &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: der}}
	}
}

func timed(b *protobundle.Bundle) {
	b.VerificationMaterial.TimestampVerificationData = &protobundle.TimestampVerificationData{
		Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: []byte("stamp")}}}
}

// What the annotations of the older form say, and what cannot be said there.
func TestOlderForm(t *testing.T) {
	s, _ := keyPair(t)
	all := signed(t, s)
	der := certificate(t)
	type changes = []func(*protobundle.Bundle)
	for name, c := range map[string]struct {
		changes    changes
		image, att []string
		imageErr   string
		attestErr  string
	}{
		"key":               {image: []string{annotationSignature}, att: []string{annotationSignature, annotationType}},
		"key, log 1":        {changes{logged(bodyDSSE, 1)}, []string{annotationSignature, annotationEntry}, []string{annotationSignature, annotationType, annotationEntry}, "", ""},
		"key, log 2":        {changes{logged(bodyDSSE, 2)}, []string{annotationSignature}, []string{annotationSignature, annotationType}, "", ""},
		"key, timed":        {changes{timed}, []string{annotationSignature, annotationTimestamp}, []string{annotationSignature, annotationType}, "", ""},
		"identity, log 1":   {changes{certified(der), logged(bodyDSSE, 1), timed}, []string{annotationSignature, annotationCertificate, annotationEntry, annotationTimestamp}, []string{annotationSignature, annotationType, annotationCertificate, annotationEntry}, "", ""},
		"identity, logs":    {changes{certified(der), logged(bodyDSSE, 2), logged(bodyDSSE, 1)}, []string{annotationSignature, annotationCertificate, annotationEntry}, []string{annotationSignature, annotationType, annotationCertificate, annotationEntry}, "", ""},
		"identity, log 2":   {changes{certified(der), logged(bodyDSSE, 2), timed}, nil, nil, "version 2", "version 2"},
		"identity, timed":   {changes{certified(der), timed}, []string{annotationSignature, annotationCertificate, annotationTimestamp}, nil, "", "its time is proven"},
		"identity, no time": {changes{certified(der)}, nil, nil, "its time is proven", "its time is proven"},
	} {
		t.Run(name, func(t *testing.T) {
			image, att := all[0], all[1]
			for _, change := range c.changes {
				image.PayloadBundle, att.Bundle = edit(t, image.PayloadBundle, change), edit(t, att.Bundle, change)
			}
			for _, one := range []struct {
				signed Signed
				want   []string
				says   string
				data   string
			}{{image, c.image, c.imageErr, string(image.Payload)}, {att, c.att, c.attestErr, ""}} {
				l, err := one.signed.older()
				if one.says != "" {
					require.ErrorIs(t, err, ErrNoOlderForm)
					require.ErrorContains(t, err, one.says)
					require.Error(t, one.signed.OlderForm())
					continue
				}
				require.NoError(t, err)
				require.NoError(t, one.signed.OlderForm())
				var have []string
				for k := range l.annotations {
					have = append(have, k)
				}
				require.ElementsMatch(t, one.want, have)
				if one.data != "" {
					require.Equal(t, one.data, string(l.data))
				}
			}
		})
	}
}

// A layer says the same as the bundle that it was made from, and as the bundle that is
// made of it.
func TestRestore(t *testing.T) {
	s, v := keyPair(t)
	all := signed(t, s)
	der := certificate(t)
	for name, changes := range map[string][]func(*protobundle.Bundle){
		"key":          nil,
		"key, timed":   {timed},
		"key, log":     {logged(bodyRecord, 1)},
		"certificate":  {certified(der), logged(bodyRecord, 1), timed},
		"no promise":   {logged(bodyRecord, 2)},
		"another kind": {logged(`{"apiVersion":"0.0.1","kind":"rekord"}`, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			for _, one := range all {
				field := &one.Bundle
				if one.Payload != nil {
					field = &one.PayloadBundle
				}
				for _, change := range changes {
					*field = edit(t, *field, change)
				}
				was, err := parseBundle(*field)
				require.NoError(t, err)
				l, err := one.older()
				if err != nil {
					require.ErrorIs(t, err, ErrNoOlderForm)
					return
				}
				restored, err := l.bundle()
				require.NoError(t, err)
				data, err := marshal(restored)
				require.NoError(t, err)
				again, err := marshal(restored)
				require.NoError(t, err)
				require.Equal(t, data, again)
				is, err := parseBundle(data)
				require.NoError(t, err)
				require.Equal(t, was.GetMessageSignature().GetSignature(), is.GetMessageSignature().GetSignature())
				if e := is.GetDsseEnvelope(); e != nil {
					require.True(t, proto.Equal(was.GetDsseEnvelope(), e))
				}
				material := is.GetVerificationMaterial()
				if name == "certificate" {
					require.Equal(t, der, material.GetX509CertificateChain().GetCertificates()[0].GetRawBytes())
				}
				if strings.Contains(name, "log") || name == "certificate" {
					require.Equal(t, promisedMediaType, is.GetMediaType())
					require.Len(t, material.GetTlogEntries(), 1)
					e, w := material.GetTlogEntries()[0], was.GetVerificationMaterial().GetTlogEntries()[0]
					require.Equal(t, w.GetCanonicalizedBody(), e.GetCanonicalizedBody())
					require.Equal(t, w.GetLogId().GetKeyId(), e.GetLogId().GetKeyId())
					require.Equal(t, w.GetIntegratedTime(), e.GetIntegratedTime())
					require.Equal(t, w.GetLogIndex(), e.GetLogIndex())
					require.Equal(t, w.GetInclusionPromise().GetSignedEntryTimestamp(), e.GetInclusionPromise().GetSignedEntryTimestamp())
					if is.GetMessageSignature() != nil {
						require.Equal(t, protocommon.HashAlgorithm_SHA2_512, is.GetMessageSignature().GetMessageDigest().GetAlgorithm())
					}
				} else {
					require.Empty(t, material.GetTlogEntries())
					e, err := l.read()
					require.NoError(t, err)
					e.Bundle = data
					_, err = e.Verify(t.Context(), v, subject.Digest)
					require.NoError(t, err)
				}
			}
		})
	}
}

func TestRestoreRefuses(t *testing.T) {
	envelope := func(change func(map[string]any)) []byte {
		e := map[string]any{"payloadType": signing.PayloadType, "payload": base64.StdEncoding.EncodeToString(statement(provenance)),
			"signatures": []any{map[string]any{"sig": "AAAA"}}}
		change(e)
		data, err := json.Marshal(e)
		require.NoError(t, err)
		return data
	}
	good := map[string]string{annotationSignature: "AAAA"}
	with := func(k, v string) map[string]string { return map[string]string{annotationSignature: "AAAA", k: v} }
	for name, c := range map[string]struct {
		l    layer
		says string
	}{
		"no signature":      {layer{signing.PayloadMediaType, []byte("{}"), nil}, "no signature in base64"},
		"no base64":         {layer{signing.PayloadMediaType, []byte("{}"), map[string]string{annotationSignature: "!"}}, "no signature in base64"},
		"certificate":       {layer{signing.PayloadMediaType, []byte("{}"), with(annotationCertificate, "x")}, "no certificate in PEM"},
		"timestamp":         {layer{signing.PayloadMediaType, []byte("{}"), with(annotationTimestamp, "x")}, annotationTimestamp},
		"entry":             {layer{signing.PayloadMediaType, []byte("{}"), with(annotationEntry, "x")}, annotationEntry},
		"log":               {layer{signing.PayloadMediaType, []byte("{}"), with(annotationEntry, `{"Payload":{"logID":"x"}}`)}, "not hexadecimal"},
		"body":              {layer{signing.PayloadMediaType, []byte("{}"), with(annotationEntry, `{"Payload":{"logID":"ab","body":"AAAA"}}`)}, "the entry"},
		"digest":            {layer{signing.PayloadMediaType, []byte("{}"), with(annotationEntry, `{"SignedEntryTimestamp":"AAAA","Payload":{"logID":"ab","body":"`+base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(bodyRecord, "sha512", "md5")))+`"}}`)}, "md5"},
		"no envelope":       {layer{envelopeMediaType, []byte("x"), good}, "no DSSE envelope"},
		"no signatures":     {layer{envelopeMediaType, envelope(func(e map[string]any) { delete(e, "signatures") }), good}, "0 signatures"},
		"two signatures":    {layer{envelopeMediaType, envelope(func(e map[string]any) { e["signatures"] = []any{map[string]any{}, map[string]any{}} }), good}, "2 signatures"},
		"payload":           {layer{envelopeMediaType, envelope(func(e map[string]any) { e["payload"] = "!" }), good}, "not in base64"},
		"envelope's":        {layer{envelopeMediaType, envelope(func(e map[string]any) { e["signatures"] = []any{map[string]any{"sig": "!"}} }), good}, "not in base64"},
		"no statement":      {layer{envelopeMediaType, envelope(func(e map[string]any) { e["payloadType"] = "x" }), good}, "no in-toto statement"},
		"statement's JSON":  {layer{envelopeMediaType, envelope(func(e map[string]any) { e["payload"] = "AAAA" }), good}, "its statement"},
		"no predicate type": {layer{envelopeMediaType, envelope(func(e map[string]any) { e["payload"] = "e30=" }), good}, "no predicate type"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.l.read()
			require.ErrorContains(t, err, c.says)
		})
	}
	// Both kinds of base64 are DSSE's.
	data := envelope(func(e map[string]any) {
		e["payload"] = base64.URLEncoding.EncodeToString([]byte(`{"predicateType":"???>>>"}`))
	})
	e, err := layer{envelopeMediaType, data, good}.read()
	require.NoError(t, err)
	require.Equal(t, "???>>>", e.PredicateType)
}

func FuzzOlder(f *testing.F) {
	s, _ := keyPair(f)
	for _, one := range signed(f, s) {
		f.Add(one.Bundle)
		f.Add(edit(f, one.Bundle, logged(bodyDSSE, 1)))
		if one.PayloadBundle != nil {
			f.Add(edit(f, edit(f, one.PayloadBundle, certified([]byte("x"))), timed))
		}
	}
	f.Fuzz(func(t *testing.T, bundle []byte) {
		for _, one := range []Signed{{PredicateType: provenance, Bundle: bundle}, {PredicateType: SignPredicate, Bundle: bundle, Payload: []byte("{}"), PayloadBundle: bundle}} {
			if l, err := one.older(); err == nil {
				_, _ = l.read() // it need not make sense
			}
			_, _ = Manifests(subject, []Signed{one}, Existing{}, created, Formats{})
		}
		tellable(bundle)
	})
}

func FuzzRestore(f *testing.F) {
	s, _ := keyPair(f)
	for _, one := range signed(f, s) {
		l, err := one.older()
		require.NoError(f, err)
		f.Add(l.mediaType == envelopeMediaType, l.data, l.annotations[annotationSignature], "", "", "")
	}
	f.Add(false, []byte("{}"), "AAAA", `{"SignedEntryTimestamp":"AAAA","Payload":{"logID":"ab","logIndex":-1,"body":"`+base64.StdEncoding.EncodeToString([]byte(bodyRecord))+`"}}`, certificatePEM([][]byte{{1}}), `{"SignedRFC3161Timestamp":"AAAA"}`)
	f.Fuzz(func(t *testing.T, envelope bool, data []byte, signature, entry, certificate, stamp string) {
		l := layer{signing.PayloadMediaType, data, map[string]string{annotationSignature: signature, annotationEntry: entry, annotationCertificate: certificate, annotationTimestamp: stamp}}
		if envelope {
			l.mediaType = envelopeMediaType
		}
		e, err := l.read()
		if err != nil {
			return
		}
		data, err = marshal(e.restored)
		require.NoError(t, err)
		_, err = parseBundle(data)
		require.NoError(t, err)
		require.NotEmpty(t, e.PredicateType)
	})
}
