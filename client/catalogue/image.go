package catalogue

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	digest "github.com/opencontainers/go-digest"

	"github.com/anchore/stereoscope/pkg/file"
	"github.com/anchore/stereoscope/pkg/filetree"
	"github.com/anchore/stereoscope/pkg/image"

	"github.com/temper-images/temper/client/imagefs"
)

// newImage describes an image as Stereoscope does after it unpacked one, so that
// Syft's own resolver and metadata serve. Contents come from fsys and end with
// ctx.
func newImage(ctx context.Context, img v1.Image, fsys *imagefs.FS, o Options) (*image.Image, error) {
	out := &image.Image{}
	if err := describe(out, img, o); err != nil {
		return nil, err
	}
	layers := map[digest.Digest]*image.Layer{}
	for i, l := range out.Layers {
		if i >= len(fsys.Layers()) || digest.Digest(l.Metadata.Digest) != fsys.Layers()[i] {
			return nil, errors.New("the file system is of another image")
		}
		layers[fsys.Layers()[i]] = l
	}
	tree := filetree.New()
	catalog := image.NewFileCatalog()
	builder := filetree.NewBuilder(tree, catalog.Index)
	for e := range fsys.Entries() {
		l := layers[e.Layer]
		if l == nil {
			continue // a directory that no layer holds: the tree makes it
		}
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		m, err := metadata(fsys, e)
		if err != nil {
			return nil, err
		}
		ref, err := builder.Add(m)
		if err != nil {
			return nil, err
		}
		catalog.AssociateLayer(*ref, l)
		catalog.AssociateOpener(*ref, func() (io.ReadCloser, error) {
			if err := context.Cause(ctx); err != nil {
				return nil, err
			}
			return fsys.OpenEntry(e)
		})
	}
	// What is of no use any more was downloaded all the same.
	for _, entries := range []iter.Seq[*imagefs.Entry]{fsys.Entries(), fsys.Shadowed()} {
		for e := range entries {
			if l := layers[e.Layer]; l != nil && !e.IsHardLink() {
				l.Metadata.Size += e.Size
				out.Metadata.Size += e.Size
			}
		}
	}
	out.FileCatalog = catalog
	out.SquashedSearchContext = filetree.NewSearchContext(tree, catalog.Index)
	for _, l := range out.Layers {
		l.SquashedTree = tree
	}
	return out, nil
}

// describe sets what is not of the file system.
func describe(out *image.Image, img v1.Image, o Options) error {
	manifest, err := img.RawManifest()
	if err != nil {
		return err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return err
	}
	raw, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	mt, err := img.MediaType()
	if err != nil {
		return err
	}
	list, err := img.Layers()
	if err != nil {
		return err
	}
	out.Metadata = image.Metadata{
		Config: *cfg, MediaType: mt, OS: cfg.OS, Architecture: cfg.Architecture, Variant: cfg.Variant,
	}
	for _, set := range []image.AdditionalMetadata{
		image.WithManifest(manifest), image.WithConfig(raw), image.WithTags(o.Reference), image.WithRepoDigests(o.RepoDigests...),
	} {
		if err := set(out); err != nil {
			return err
		}
	}
	for i, l := range list {
		mt, err := l.MediaType()
		if err != nil {
			return err
		}
		if i >= len(cfg.RootFS.DiffIDs) {
			return errors.New("its configuration names fewer layers than its manifest")
		}
		out.Layers = append(out.Layers, newLayer(i, mt, cfg.RootFS.DiffIDs[i]))
	}
	return nil
}

func newLayer(i int, mt types.MediaType, diffID v1.Hash) *image.Layer {
	return &image.Layer{Metadata: image.LayerMetadata{Index: uint(i), Digest: diffID.String(), MediaType: mt}}
}

// metadata describes an entry. A hard link is a file like any other.
func metadata(fsys *imagefs.FS, e *imagefs.Entry) (file.Metadata, error) {
	m := file.Metadata{
		FileInfo: file.ManualInfo{NameValue: path.Base(e.Path), SizeValue: e.Size, ModeValue: e.Mode, ModTimeValue: e.ModTime},
		Path:     e.Path, UserID: e.UID, GroupID: e.GID, Type: file.TypeFromMode(e.Mode),
	}
	switch {
	case e.Mode.Type() == fs.ModeSymlink:
		m.LinkDestination = e.Linkname
	case e.Mode.IsRegular():
		f, err := fsys.OpenEntry(e)
		if err != nil {
			return m, err
		}
		m.MIMEType = file.MIMEType(f)
		return m, f.Close()
	}
	return m, nil
}
