package frontend

import (
	"bytes"
	"context"
	"fmt"

	"github.com/moby/buildkit/frontend/dockerui"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/result"

	"github.com/temper-images/temper/frontend/config"
	"github.com/temper-images/temper/hardening/spec"
)

// maxReport bounds a report, in bytes; BuildKit exports no larger attestation.
const maxReport = 40 << 20

// report is one platform's hardening report and the result that holds its file.
type report struct {
	*spec.Report
	ref gwclient.Reference
}

// readReport reads the report that the hardening steps left. A report whose checks
// did not all pass is an error even when the steps succeeded.
func readReport(ctx context.Context, ref gwclient.Reference) (*report, error) {
	dt, err := readBounded(ctx, ref, spec.ReportFile, maxReport)
	if err != nil {
		return nil, err
	}
	r, err := spec.ReadReport(bytes.NewReader(dt))
	if err != nil {
		return nil, err
	}
	if len(r.Checks) == 0 {
		return nil, fmt.Errorf("the report %s holds no check", spec.ReportFile)
	}
	for _, c := range r.Checks {
		if !c.Passed {
			return nil, fmt.Errorf("the check %q did not pass: %s", c.Name, c.Statement)
		}
	}
	return &report{Report: r, ref: ref}, nil
}

// attach adds each platform's report to the result: a summary as metadata, for
// the client, and the whole as an in-toto attestation, unless temper.yaml forgoes
// it.
func (h *hardener) attach(rb *dockerui.ResultBuilder) error {
	var err error
	h.reports.Range(func(id string, r *report) bool {
		summary := *r.Report
		summary.Removed = withoutPaths(r.Removed)
		var dt []byte
		if dt, err = summary.Marshal(); err != nil {
			return false
		}
		rb.AddMeta(config.ReportKey+"/"+id, dt)
		if h.config.Report == config.ReportAttach {
			rb.AddAttestation(id, gwclient.Attestation{
				Kind:   gwpb.AttestationKind_InToto,
				Ref:    r.ref,
				Path:   "/" + spec.ReportFile,
				InToto: result.InTotoAttestation{PredicateType: spec.PredicateType},
			})
		}
		return true
	})
	return err
}

// withoutPaths drops the lists of paths, which can be too long for a message
// between frontend and daemon.
func withoutPaths(groups []spec.Group) []spec.Group {
	out := make([]spec.Group, len(groups))
	for i, g := range groups {
		g.Paths = nil
		out[i] = g
	}
	return out
}
