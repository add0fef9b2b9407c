package verify

import (
	"errors"
	"testing"
	"time"

	digest "github.com/opencontainers/go-digest"

	"github.com/temper-images/temper/client/referrer"
	"github.com/temper-images/temper/client/signing"
)

// FuzzParsePolicy looks for panics, and for policies that are read and not accepted.
func FuzzParsePolicy(f *testing.F) {
	for _, seed := range []string{
		"signers:\n  - key: a\n    tlog: on\nrequire: [sbom]\nscan: {maxAge: 7d}\n", "provenance:\n  builders: [{id: a, level: 2}]\n  ref: v*\n",
		"signers: [{identity: a, issuer: b}]\ngate:\n  accept: pass\n", "a: [", "- -\n", "? x", "{}", "|\n x",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePolicy("fuzz", data)
		var wrong *PolicyError
		if err != nil {
			if !errors.As(err, &wrong) || err.Error() == "" {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if err := p.Check(); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Digest(); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzStatement judges statements of every kind that were signed and may say
// anything. None may panic, and none about another image may count.
func FuzzStatement(f *testing.F) {
	subject := digest.FromString("image")
	for _, predicate := range []string{
		`{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"component":{"type":"container","purl":"pkg:oci/a@sha256%3Aabc","hashes":[{"alg":"SHA-256","content":"ab"}]}}}`,
		`{"spdxVersion":"SPDX-2.3","packages":[{"SPDXID":"a","externalRefs":[{"referenceLocator":"pkg:oci/a@sha256:b"}]}],"documentDescribes":["a"]}`,
		`{"@graph":[{"type":"CreationInfo","specVersion":"3.0.1"},{"type":"software_Package","spdxId":"a","software_packageUrl":"pkg:oci/a"},{"type":"SpdxDocument","rootElement":["a"]}]}`,
		`{"scanner":{"uri":"a","db":{"version":"v6-20260504030201","lastUpdate":"2026-01-01T00:00:00Z"}},"metadata":{"scanFinishedOn":"2026-01-01T00:00:00Z"}}`,
		`{"passed":true,"mode":"fail","judged":"2026-05-05","subject":{"digest":"sha256:11"},"counts":{"counts":1}}`,
		`{"level":"exclusive","checks":[{"passed":true}]}`,
		`{"schema":"https://github.com/temper-images/temper/inspection/v1","date":"2026-05-05","outcome":"passed"}`,
		`{"@context":"https://openvex.dev/ns/v0.2.0","statements":[]}`,
		`{"result":"PASSED","passedTests":["a"]}`,
		`{"buildDefinition":{"buildType":"https://actions.github.io/buildtypes/workflow/v1","externalParameters":{"workflow":{"repository":"https://github.com/a/b"}}},"runDetails":{"builder":{"id":"https://a"}}}`,
	} {
		for _, p := range predicates {
			f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"` + subject.Encoded() + `"}}],"predicateType":"` + p.prefix + `","predicate":` + predicate + `}`))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e := &referrer.Entry{PredicateType: "x", Places: []referrer.Place{{}}}
		s, err := readSaid(e, &signing.Result{Signer: "somebody", Statement: data}, subject)
		if err != nil {
			return
		}
		st, err := parseStatement(data)
		if err != nil || !st.isAbout(subject) {
			t.Fatalf("it counts and is about something else: %v", err)
		}
		o := &Options{Now: time.Unix(1777777777, 0), Policy: Policy{
			Require: Kinds, Provenance: ProvenancePolicy{Source: "https://github.com/a/b", Ref: "v*"}, Scan: ScanPolicy{MaxAge: "7d"},
		}}
		x := &examination{Options: o, target: target{top: subject}, said: map[Kind][]said{kindOf(s.predicateType): {*s}}, others: map[Kind][]error{}}
		x.desc.Digest = subject
		x.judge()
		for _, c := range x.out.Checks {
			if len(c.Detail) > maxDetail+len("…") || c.Detail == "" {
				t.Fatalf("%s: %q", c.Kind, c.Detail)
			}
		}
	})
}
