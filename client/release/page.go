package release

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"

	"github.com/moby/sys/atomicwriter"

	"github.com/temper-images/temper/client/artifact"
	"github.com/temper-images/temper/client/report"
	"github.com/temper-images/temper/client/stage"
)

// page writes the report about everything that was made.
func (o Options) page(ctx context.Context, e *Evidence) error {
	if o.Report == "" {
		return nil
	}
	return o.Steps.Run(ctx, "[evidence] write the report", stage.Report, func(_ context.Context, s *stage.Step) error {
		var all []artifact.Artifact
		for _, img := range e.Images {
			all = append(append(all, img.Documents...), img.signatures...)
		}
		page, err := report.Read(all)
		if err != nil {
			return err
		}
		// The page is bounded, so that memory can hold it before a file is touched.
		var b bytes.Buffer
		if err := page.Write(&b, report.Options{Version: o.Version, Store: e.URL}); err != nil {
			return err
		}
		if err := atomicwriter.WriteFile(o.Report, b.Bytes(), 0o644); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		e.Report = o.Report
		s.Set(slog.String("path", o.Report), slog.Int("size_bytes", b.Len()))
		return nil
	})
}
