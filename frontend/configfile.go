package frontend

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"

	"github.com/temper-images/temper/frontend/config"
	"github.com/temper-images/temper/hardening/spec"
)

// localScheme begins the identifier of a source that the client's session
// provides.
const localScheme = "local://"

// overrides applies the environment below, and the build arguments above, what
// the configuration says.
func (b *build) overrides(c config.Config) (config.Config, error) {
	return c, c.Override(b.ui.BuildOpts().Opts)
}

// pinnedOff says that a build argument turns hardening off whatever temper.yaml
// says, so that it need not be read.
func (b *build) pinnedOff(overridden config.Config) bool {
	_, set := b.ui.BuildOpts().Opts["build-arg:"+config.ArgName("harden.level")]
	return set && overridden.Harden.Level == spec.LevelOff
}

// readConfig reads temper.yaml from the root of the main context or, when it has
// none, from beside the Dockerfile, between the environment and the build
// arguments.
func (b *build) readConfig(ctx context.Context) (config.Config, error) {
	c := config.Default()
	if err := c.OverrideEnv(b.environ); err != nil {
		return config.Config{}, err
	}
	file, err := b.findConfig(ctx)
	if err != nil {
		return config.Config{}, err
	}
	b.configFile = file
	if file != nil {
		if err := c.Read(file.Filename, file.Data); err != nil {
			return config.Config{}, locateConfig(err, file)
		}
	}
	return b.overrides(c)
}

// findConfig returns temper.yaml as a source map, or nil where there is none.
func (b *build) findConfig(ctx context.Context) (*llb.SourceMap, error) {
	// The file itself need not be in what the Dockerfile may copy, so
	// .dockerignore does not hide it.
	st, err := b.ui.MainContext(ctx, append(onlyConfig(config.FileName, dockerui.DefaultLocalNameContext, "in the context"), llb.ExcludePatterns(nil))...)
	if err != nil {
		return nil, err
	}
	file, err := b.readSource(ctx, *st, config.FileName)
	if err != nil || file != nil {
		return file, err
	}
	beside := path.Join(path.Dir(path.Clean("/"+b.Filename)), config.FileName)[1:]
	return b.readSource(ctx, b.besideDockerfile(beside), beside)
}

// onlyConfig limits a local source to one file, and keeps what was transferred
// for it apart from other uses of the same source.
func onlyConfig(name, local, where string) []llb.LocalOption {
	return []llb.LocalOption{
		llb.FollowPaths([]string{name}),
		llb.SharedKeyHint(local + "-" + config.FileName),
		dockerui.WithInternalName("look for " + config.FileName + " " + where),
		llb.Differ(llb.DiffNone, false),
	}
}

// besideDockerfile is the source that the Dockerfile was read from. A local one
// was asked for the Dockerfile alone, so it is asked again for the named file.
func (b *build) besideDockerfile(name string) llb.State {
	local, ok := localName(b.SourceMap.Definition)
	if !ok {
		return *b.SourceMap.State
	}
	opts := b.ui.BuildOpts()
	session := opts.SessionID
	if id, ok := opts.Opts["local-sessionid:"+local]; ok {
		session = id
	}
	return llb.Local(local, append(onlyConfig(name, local, "beside the Dockerfile"), llb.SessionID(session))...)
}

// localName returns the name of the local source that a definition consists of.
func localName(def *llb.Definition) (string, bool) {
	name, found := "", false
	for _, dt := range def.Def {
		var op pb.Op
		if err := op.UnmarshalVT(dt); err != nil {
			return "", false
		}
		switch {
		case op.Op == nil: // the last one only points at the result
		case op.GetSource() != nil && !found:
			name, found = strings.CutPrefix(op.GetSource().Identifier, localScheme)
		default:
			return "", false
		}
	}
	return name, found
}

// readSource reads a file out of a source, or returns nil where it is absent.
func (b *build) readSource(ctx context.Context, st llb.State, name string) (*llb.SourceMap, error) {
	def, err := st.Marshal(ctx, llb.WithCaps(b.ui.BuildOpts().LLBCaps))
	if err != nil {
		return nil, &Error{"look for " + name, err}
	}
	res, err := b.client.Solve(ctx, gwclient.SolveRequest{Definition: def.ToPB()})
	if err != nil {
		return nil, &Error{"look for " + name, err}
	}
	ref, err := res.SingleRef()
	if err != nil || ref == nil {
		return nil, err
	}
	if found, err := exists(ctx, ref, name); err != nil || !found {
		return nil, err
	}
	dt, err := readBounded(ctx, ref, name, config.MaxSize)
	if err != nil {
		return nil, err
	}
	sm := llb.NewSourceMap(&st, name, "YAML", dt)
	sm.Definition = def
	return sm, nil
}

// exists looks a path up by listing directories, because the error of reading a
// file does not tell an absent file from a failed source.
func exists(ctx context.Context, ref gwclient.Reference, name string) (bool, error) {
	dir := "/"
	for part := range strings.SplitSeq(name, "/") {
		entries, err := ref.ReadDir(ctx, gwclient.ReadDirRequest{Path: dir})
		if notOffered(err) {
			return false, nil
		}
		if err != nil {
			return false, &Error{"look for " + name, err}
		}
		found := false
		for _, e := range entries {
			found = found || path.Base(e.Path) == part
		}
		if !found {
			return false, nil
		}
		dir = path.Join(dir, part)
	}
	return true, nil
}

// notOffered says that the client's session does not have the directory at all:
// it need not offer a context that the Dockerfile does not use. A session that
// offers no directory says so in words only (BuildKit, session/filesync).
func notOffered(err error) bool {
	return grpcerrors.Code(err) == codes.NotFound || err != nil && strings.Contains(err.Error(), "no local sources enabled")
}

// readChunk is how much one request reads; a message between daemon and frontend
// holds at most 16 MiB.
const readChunk = 4 << 20

// readBounded reads a regular file of at most limit bytes.
func readBounded(ctx context.Context, ref gwclient.Reference, name string, limit int) ([]byte, error) {
	st, err := ref.StatFile(ctx, gwclient.StatRequest{Path: name})
	if err != nil {
		return nil, &Error{"read " + name, err}
	}
	if mode := os.FileMode(st.Mode); !mode.IsRegular() && mode.Type() != os.ModeSymlink {
		return nil, &Error{"read " + name, errors.New("it is not a file")}
	}
	var out []byte
	for {
		dt, err := ref.ReadFile(ctx, gwclient.ReadRequest{
			Filename: name,
			Range:    &gwclient.FileRange{Offset: len(out), Length: min(readChunk, limit+1-len(out))},
		})
		if err != nil {
			return nil, &Error{"read " + name, err}
		}
		out = append(out, dt...)
		if len(out) > limit {
			return nil, &Error{"read " + name, fmt.Errorf("it has more than the %d bytes allowed", limit)}
		}
		if len(dt) < readChunk {
			return out, nil
		}
	}
}

// maxPlaces bounds how many places one error points at.
const maxPlaces = 5

// locateConfig makes what is wrong in temper.yaml point at its lines.
func locateConfig(err error, file *llb.SourceMap) error {
	errs := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs = joined.Unwrap()
	}
	for i := min(len(errs), maxPlaces) - 1; i >= 0; i-- {
		var at *config.Error
		if errors.As(errs[i], &at) && at.Line > 0 {
			p := parser.Position{Line: at.Line, Character: at.Column - 1}
			err = withSource(err, file, []parser.Range{{Start: p, End: p}})
		}
	}
	return err
}
