package recompress

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/moby/buildkit/client/ociindex"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// maxManifest bounds an index or a manifest, and maxStatement an attestation, in bytes.
	maxManifest  = 4 << 20
	maxStatement = 64 << 20
	// maxDepth bounds how deep indexes lie in indexes.
	maxDepth = 4
)

// Annotations of an attestation manifest in an index (BuildKit,
// docs/attestations/attestation-storage.md).
const (
	annotationReferenceType   = "vnd.docker.reference.type"
	annotationReferenceDigest = "vnd.docker.reference.digest"
	attestationManifest       = "attestation-manifest"
	typeInToto                = "application/vnd.in-toto+json"
)

// The media types of Docker's images (Docker image manifest, version 2, schema 2).
const (
	typeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	typeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
)

// gzipTypes are the media types of layers that are compressed here, with what they
// become.
var gzipTypes = map[string]string{
	ocispecs.MediaTypeImageLayer:                           ocispecs.MediaTypeImageLayerGzip,
	"application/vnd.docker.image.rootfs.diff.tar":         "application/vnd.docker.image.rootfs.diff.tar.gzip",
	ocispecs.MediaTypeImageLayerNonDistributable:           ocispecs.MediaTypeImageLayerNonDistributableGzip, //nolint:staticcheck // images have it
	"application/vnd.docker.image.rootfs.foreign.diff.tar": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
}

// object is a JSON object of which only some fields are known here; the others stay.
type object map[string]json.RawMessage

func (o object) get(key string, v any) error {
	raw, ok := o[key]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

func (o object) set(key string, v any) error {
	dt, err := json.Marshal(v)
	o[key] = dt
	return err
}

// descriptor reads what is known of one.
func (o object) descriptor() (d ocispecs.Descriptor, err error) {
	err = errors.Join(o.get("mediaType", &d.MediaType), o.get("digest", &d.Digest), o.get("size", &d.Size), o.get("annotations", &d.Annotations))
	if err != nil {
		return d, err
	}
	if err := d.Digest.Validate(); err != nil {
		return d, fmt.Errorf("digest %q: %w", d.Digest, err)
	}
	return d, nil
}

// move has a descriptor, which is from, name something else. It says whether it does.
func (o object) move(from, to ocispecs.Descriptor) (bool, error) {
	if from.Digest == to.Digest {
		return false, nil
	}
	err := errors.Join(o.set("mediaType", to.MediaType), o.set("digest", to.Digest), o.set("size", to.Size))
	if len(to.Annotations) > 0 {
		err = errors.Join(err, o.set("annotations", to.Annotations))
	}
	return true, err
}

// rewriter goes through an image from its top. Whatever it comes past is in the layout
// afterwards.
type rewriter struct {
	*Layout
	// moved has the new digests of manifests, indexes and statements that are others now,
	// and layers those of layers.
	moved, layers map[digest.Digest]digest.Digest
	stats         Stats
}

// Finish writes the layout: the image, of which top is the manifest or index, is to
// have names; without any its tag is latest. It returns what top became.
func (l *Layout) Finish(ctx context.Context, top ocispecs.Descriptor, names []string) (out ocispecs.Descriptor, err error) {
	work := func(ctx context.Context) (stats Stats, err error) {
		out, stats, err = l.finish(ctx, top, names)
		return stats, err
	}
	if l.o.Step != nil {
		return out, l.o.Step(ctx, work)
	}
	_, err = work(ctx)
	return out, err
}

func (l *Layout) finish(ctx context.Context, top ocispecs.Descriptor, names []string) (ocispecs.Descriptor, Stats, error) {
	w := &rewriter{Layout: l, moved: map[digest.Digest]digest.Digest{}, layers: map[digest.Digest]digest.Digest{}}
	out, err := w.rewrite(ctx, top, 0)
	if err = errors.Join(err, l.settling.Wait()); err == nil {
		err = l.index(out, names)
	}
	if err != nil {
		return top, w.stats, fmt.Errorf("write the OCI layout %s: %w", l.dir, err)
	}
	return out, w.stats, nil
}

// rewrite returns the descriptor of what desc became.
func (w *rewriter) rewrite(ctx context.Context, desc ocispecs.Descriptor, depth int) (ocispecs.Descriptor, error) {
	if err := context.Cause(ctx); err != nil {
		return desc, err
	}
	var err error
	switch desc.MediaType {
	case ocispecs.MediaTypeImageIndex, typeDockerList:
		if depth == maxDepth {
			return desc, fmt.Errorf("indexes lie more than %d deep in each other", maxDepth)
		}
		desc, err = w.document(desc, "index", func(o object) (bool, error) { return w.children(ctx, o, depth+1) })
	case ocispecs.MediaTypeImageManifest, typeDockerManifest:
		desc, err = w.document(desc, "manifest", func(o object) (bool, error) {
			return w.manifest(ctx, o, desc.Annotations[annotationReferenceType] == attestationManifest)
		})
	default:
		err = w.copy(ctx, desc)
	}
	return desc, err
}

// document rewrites an index or a manifest. What needs no change is written as it came.
func (w *rewriter) document(desc ocispecs.Descriptor, what string, change func(object) (bool, error)) (ocispecs.Descriptor, error) {
	fail := func(err error) (ocispecs.Descriptor, error) {
		return desc, fmt.Errorf("%s %s: %w", what, desc.Digest, err)
	}
	dt, err := w.read(desc.Digest, maxManifest)
	if err != nil {
		return fail(err)
	}
	var o object
	if err := json.Unmarshal(dt, &o); err != nil {
		return fail(err)
	}
	changed, err := change(o)
	if err != nil {
		return fail(err)
	}
	if changed {
		if dt, err = json.MarshalIndent(o, "", "  "); err != nil {
			return fail(err)
		}
	}
	return w.replace(desc, dt)
}

// replace writes a document in the place of what desc names.
func (w *rewriter) replace(desc ocispecs.Descriptor, dt []byte) (ocispecs.Descriptor, error) {
	old := desc.Digest
	desc.Digest, desc.Size = digest.FromBytes(dt), int64(len(dt))
	if desc.Digest != old {
		w.moved[old] = desc.Digest
	}
	return desc, w.write(desc.Digest, desc.Size, bytes.NewReader(dt))
}

// children rewrites the images of an index, and then what is attached to them.
func (w *rewriter) children(ctx context.Context, o object, depth int) (changed bool, err error) {
	var list []object
	if err := o.get("manifests", &list); err != nil {
		return false, err
	}
	for _, attached := range []bool{false, true} {
		for i, child := range list {
			desc, err := child.descriptor()
			if err != nil {
				return false, fmt.Errorf("manifest %d: %w", i, err)
			}
			about := digest.Digest(desc.Annotations[annotationReferenceDigest])
			if (about != "") != attached {
				continue
			}
			to, err := w.rewrite(ctx, desc, depth)
			if err != nil {
				return false, err
			}
			if image, ok := w.moved[about]; ok {
				desc.Annotations[annotationReferenceDigest] = string(image)
				if err := child.set("annotations", desc.Annotations); err != nil {
					return false, err
				}
				changed = true
			}
			other, err := child.move(desc, to)
			if err != nil {
				return false, err
			}
			changed = changed || other
		}
	}
	if !changed {
		return false, nil
	}
	return true, o.set("manifests", list)
}

// manifest rewrites the layers of a manifest, and what it says of them.
func (w *rewriter) manifest(ctx context.Context, o object, attestation bool) (bool, error) {
	var layers []object
	if err := o.get("layers", &layers); err != nil {
		return false, err
	}
	changed := false
	for i, layer := range layers {
		from, err := layer.descriptor()
		if err != nil {
			return false, fmt.Errorf("layer %d: %w", i, err)
		}
		to, err := w.layer(ctx, from, attestation)
		if err != nil {
			return false, fmt.Errorf("layer %d: %w", i, err)
		}
		other, err := layer.move(from, to)
		if err != nil {
			return false, err
		}
		changed = changed || other
	}
	if changed {
		if err := o.set("layers", layers); err != nil {
			return false, err
		}
	}
	// The configuration of an attestation manifest names its statements.
	for key, to := range map[string]func(ocispecs.Descriptor) (ocispecs.Descriptor, error){
		"config": func(d ocispecs.Descriptor) (ocispecs.Descriptor, error) {
			return w.config(ctx, d, attestation && changed)
		},
		"subject": w.subject,
	} {
		other, err := o.change(key, to)
		if err != nil {
			return false, fmt.Errorf("%s: %w", key, err)
		}
		changed = changed || other
	}
	return changed, nil
}

// change changes a descriptor that is a field, where it is there.
func (o object) change(key string, to func(ocispecs.Descriptor) (ocispecs.Descriptor, error)) (bool, error) {
	var field object
	if err := o.get(key, &field); err != nil || field == nil {
		return false, err
	}
	from, err := field.descriptor()
	if err != nil {
		return false, err
	}
	desc, err := to(from)
	if err != nil {
		return false, err
	}
	changed, err := field.move(from, desc)
	if err != nil || !changed {
		return false, err
	}
	return true, o.set(key, field)
}

// config writes the configuration of an image as it is, or with other digests in it.
func (w *rewriter) config(ctx context.Context, desc ocispecs.Descriptor, changed bool) (ocispecs.Descriptor, error) {
	if !changed {
		return desc, w.copy(ctx, desc)
	}
	dt, err := w.read(desc.Digest, maxManifest)
	if err != nil {
		return desc, err
	}
	return w.replace(desc, w.rename(dt))
}

// subject is what became of the subject of a manifest.
func (w *rewriter) subject(desc ocispecs.Descriptor) (ocispecs.Descriptor, error) {
	to, ok := w.moved[desc.Digest]
	if !ok {
		return desc, nil
	}
	fi, err := w.root.Stat(blobPath(to))
	if err != nil {
		return desc, err
	}
	desc.Digest, desc.Size = to, fi.Size()
	return desc, nil
}

// layer compresses a layer that is not, and rewrites a statement.
func (w *rewriter) layer(ctx context.Context, desc ocispecs.Descriptor, attestation bool) (ocispecs.Descriptor, error) {
	if attestation && desc.MediaType == typeInToto {
		dt, err := w.read(desc.Digest, maxStatement)
		if err != nil {
			return desc, err
		}
		return w.replace(desc, w.rename(dt))
	}
	gzipped, ok := gzipTypes[desc.MediaType]
	if !ok {
		return desc, w.copy(ctx, desc)
	}
	b, err := w.blob(desc.Digest)
	if err != nil {
		return desc, err
	}
	known := b.file == nil
	if !known && b.size != desc.Size {
		return desc, fmt.Errorf("blob %s has %d bytes, and its descriptor says %d", desc.Digest, b.size, desc.Size)
	}
	if b.packed == nil {
		if err := w.pack(ctx, b); err != nil {
			return desc, err
		}
	}
	if _, twice := w.layers[desc.Digest]; !twice {
		w.stats.Layers++
		w.stats.Before += desc.Size
		w.stats.After += b.packed.Size
		if known {
			w.stats.Known++
		}
	}
	w.layers[desc.Digest] = b.packed.Digest
	// What is not remembered is compressed again.
	_ = w.o.Known.put(desc.Digest, *b.packed)
	desc.MediaType, desc.Digest, desc.Size = gzipped, b.packed.Digest, b.packed.Size
	return desc, nil
}

// layerID is how BuildKit says in an SBOM which layer a file is of.
const layerID = "layerID: "

// rename writes new digests in the place of old ones. A digest of a manifest means that
// manifest wherever it is. The old digest of a layer is its diff ID too, which stays, so
// that only what is known to mean the layer is changed.
func (w *rewriter) rename(dt []byte) []byte {
	var pairs []string
	for old, to := range w.moved {
		pairs = append(pairs, old.Encoded(), to.Encoded())
	}
	for old, to := range w.layers {
		pairs = append(pairs, layerID+string(old), layerID+string(to))
	}
	// No two of these are at one place: the order of the pairs means nothing.
	return []byte(strings.NewReplacer(pairs...).Replace(string(dt)))
}

// blob is what came in under a digest.
func (l *Layout) blob(d digest.Digest) (*blob, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.blobs[d]; b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("the builder did not send blob %s", d)
}

// read is a document that came in.
func (l *Layout) read(d digest.Digest, limit int64) ([]byte, error) {
	b, err := l.blob(d)
	if err != nil {
		return nil, err
	}
	if b.file == nil || b.size > limit {
		return nil, fmt.Errorf("blob %s has %d bytes, and at most %d are read", d, b.size, limit)
	}
	return io.ReadAll(io.NewSectionReader(b.file, 0, b.size))
}

// copy writes a blob as it came in.
func (l *Layout) copy(ctx context.Context, desc ocispecs.Descriptor) error {
	b, err := l.blob(desc.Digest)
	if err != nil {
		return err
	}
	if b.file == nil || b.size != desc.Size {
		return fmt.Errorf("blob %s has %d bytes, and its descriptor says %d", desc.Digest, b.size, desc.Size)
	}
	return l.write(b.digest, b.size, reader{ctx, io.NewSectionReader(b.file, 0, b.size)})
}

// write puts a blob into the layout, after it was checked.
func (l *Layout) write(d digest.Digest, size int64, rd io.Reader) error {
	if fi, err := l.root.Stat(blobPath(d)); err == nil && fi.Size() == size {
		return nil
	}
	fail := func(err error) error { return fmt.Errorf("write blob %s: %w", d, err) }
	tmp := blobsDir + "/." + rand.Text()
	f, err := l.root.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return fail(err)
	}
	v := d.Verifier()
	if _, err = io.Copy(f, io.TeeReader(rd, v)); err == nil && !v.Verified() {
		err = errors.New("its content has another digest")
	}
	if err == nil {
		err = l.root.Rename(tmp, blobPath(d))
	}
	if err != nil {
		return fail(errors.Join(err, f.Close(), l.root.Remove(tmp)))
	}
	return l.settle(f)
}

// settle has a file written to the disk, and closes it, while other work goes on.
func (l *Layout) settle(f *os.File) error {
	l.ending.Lock()
	defer l.ending.Unlock()
	if l.ended {
		return errors.Join(errEnded, f.Close())
	}
	l.settling.Go(func() error { return errors.Join(f.Sync(), f.Close()) })
	return nil
}

// errEnded says that somebody writes to a layout that was given up.
var errEnded = errors.New("the layout is closed")

// index writes index.json, as BuildKit's client does.
func (l *Layout) index(desc ocispecs.Descriptor, names []string) error {
	list := []ociindex.NameOrTag{ociindex.Tag("latest")}
	if len(names) > 0 {
		list = nil
		for _, n := range names {
			list = append(list, ociindex.Name(n))
		}
	}
	return ociindex.NewStoreIndex(l.dir).Put(desc, list...)
}
