package frontend

import (
	"context"
	"errors"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
)

// dockerfile is the Dockerfile of a request and where it came from.
type dockerfile struct{ *dockerui.Source }

// warn hands the linter's findings to the client, which shows them with the
// lines they are about.
func (d dockerfile) warn(ctx context.Context) linter.LintWarnFunc {
	return func(rule, description, url, msg string, location []parser.Range) {
		line := 0
		if len(location) > 0 {
			line = location[0].Start.Line
		}
		d.Warn(ctx, linter.LintFormatShort(rule, msg, line), gwclient.WarnOpts{
			Level:  1,
			Detail: [][]byte{[]byte(description)},
			URL:    url,
			Range:  ranges(location),
		})
	}
}

// locate adds the lines of the Dockerfile that an error is about, where it knows
// them.
func (d dockerfile) locate(err error) error {
	var located *parser.LocationError
	if errors.As(err, &located) {
		for _, location := range located.Locations {
			err = withSource(err, d.SourceMap, location)
		}
	}
	return err
}

// withSource makes an error point at lines of a file.
func withSource(err error, sm *llb.SourceMap, location []parser.Range) error {
	if sm == nil {
		return err
	}
	return errdefs.WithSource(err, &errdefs.Source{
		Info: &pb.SourceInfo{
			Data:       sm.Data,
			Filename:   sm.Filename,
			Language:   sm.Language,
			Definition: sm.Definition.ToPB(),
		},
		Ranges: ranges(location),
	})
}

func ranges(location []parser.Range) []*pb.Range {
	if location == nil {
		return nil
	}
	out := make([]*pb.Range, 0, len(location))
	for _, r := range location {
		out = append(out, &pb.Range{Start: position(r.Start), End: position(r.End)})
	}
	return out
}

func position(p parser.Position) *pb.Position {
	return &pb.Position{Line: int32(p.Line), Character: int32(p.Character)}
}
