package build

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// compress finishes the layout of a request with Recompress, and has the result name
// what it is now.
func (ex *exports) compress(ctx context.Context, res *Result) error {
	if ex.layout == nil {
		return nil
	}
	fail := func(err error) error { return fmt.Errorf("compress the layers of the image: %w", err) }
	dt, err := base64.StdEncoding.DecodeString(res.Exporter[exptypes.ExporterImageDescriptorKey])
	if err != nil {
		return fail(fmt.Errorf("the builder's answer: %w", err))
	}
	var desc ocispecs.Descriptor
	if err := json.Unmarshal(dt, &desc); err != nil {
		return fail(fmt.Errorf("the builder's answer: %w", err))
	}
	var names []string
	if v := res.Exporter[exptypes.ExporterImageNameKey]; v != "" {
		names = strings.Split(v, ",")
	}
	if desc, err = ex.layout.Finish(ctx, desc, names); err != nil {
		return fail(err)
	}
	if dt, err = json.Marshal(desc); err != nil {
		return fail(err)
	}
	res.Exporter[exptypes.ExporterImageDigestKey] = desc.Digest.String()
	res.Exporter[exptypes.ExporterImageDescriptorKey] = base64.StdEncoding.EncodeToString(dt)
	return nil
}
