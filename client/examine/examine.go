// Package examine reads one image once, for what explains and compares images:
// its files, the packages that own them, its programs and libraries, and the
// hardening report that is attached to it.
package examine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/temper-images/temper/client/imagefs"
	"github.com/temper-images/temper/client/subject"
	"github.com/temper-images/temper/hardening/spec"
)

// MaxLinks is how many symbolic links Follow follows, as Linux does.
const MaxLinks = 40

// Options say how an image is read. The zero value is good.
type Options struct {
	// Files says how the layers are read.
	Files imagefs.Options
	// AllPackages lists those of languages and single programs too, and not only those
	// of the distribution.
	AllPackages bool
	// Report is the hardening report, where it was read already; see Report. Without
	// it, the image has none.
	Report *spec.Report
}

// Image is an image that was read. It can be used by several goroutines, and is to
// be closed.
type Image struct {
	*subject.Image
	// Files is the merged file system.
	Files *imagefs.FS
	// Config is the image's configuration.
	Config *v1.ConfigFile
	// Report says what hardening did to the image. It is nil when there is none.
	Report *spec.Report
	// Packages are sorted by type, name, version and architecture.
	Packages []Package

	owners map[string][]int32
}

// Open reads all layers of an image and its package databases. Errors are those of
// imagefs.Open and of catalogue.Image, or of ctx.
func Open(ctx context.Context, img *subject.Image, o Options) (_ *Image, err error) {
	out := &Image{Image: img, Report: o.Report}
	if out.Config, err = img.Image.ConfigFile(); err != nil {
		return nil, fmt.Errorf("configuration of image %s: %w", img.Digest, err)
	}
	if out.Files, err = imagefs.Open(ctx, img.Image, o.Files); err != nil {
		return nil, fmt.Errorf("image %s: %w", img.Digest, err)
	}
	if err := out.readPackages(ctx, o); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return out, nil
}

// Close releases the files.
func (i *Image) Close() error { return i.Files.Close() }

// Label names the image for people: its reference where it has one, and its name
// otherwise.
func (i *Image) Label() string {
	if i.Reference != "" {
		return i.Reference
	}
	return i.Name
}

// Link is a symbolic link on the way of a path.
type Link struct {
	// Path is where the link is, all directories before it resolved.
	Path string `json:"path"`
	// Target is what it says.
	Target string `json:"target"`
}

// LoopError says that symbolic links lead in circles, or through too many others.
type LoopError struct {
	// Path is what was followed.
	Path string
}

func (e *LoopError) Error() string {
	return fmt.Sprintf("%s: it leads through more than %d symbolic links", e.Path, MaxLinks)
}

// Follow finds what a path names, inside the image, and the links on the way. At is the path without links:
// that of the entry or, where there is none, the one that is missing. The entry of
// the root directory is nil too. The error is a LoopError.
func (i *Image) Follow(name string) (links []Link, at string, e *imagefs.Entry, err error) {
	done, rest := "", path.Clean("/"+name)
	for rest != "" && rest != "/" {
		part, tail := rest[1:], ""
		if n := strings.IndexByte(part, '/'); n >= 0 {
			part, tail = part[:n], part[n:]
		}
		next, ok := i.Files.Lookup(done + "/" + part)
		if !ok || tail != "" && !next.Mode.IsDir() && next.Mode.Type() != fs.ModeSymlink {
			return links, done + rest, nil, nil
		}
		if next.Mode.Type() != fs.ModeSymlink {
			done, rest, e = next.Path, tail, next
			continue
		}
		if len(links) == MaxLinks {
			return distinct(links), next.Path, nil, &LoopError{Path: name}
		}
		links = append(links, Link{Path: next.Path, Target: next.Linkname})
		target := next.Linkname
		if !path.IsAbs(target) {
			target = done + "/" + target
		}
		done, rest, e = "", path.Clean("/"+target+tail), nil
	}
	if done == "" {
		done = "/"
	}
	return links, done, e, nil
}

// distinct are the links of a circle, each once.
func distinct(links []Link) []Link {
	var out []Link
	for _, l := range links {
		if !slices.Contains(out, l) {
			out = append(out, l)
		}
	}
	return out
}

// defaultPath is what runtimes use when the image sets no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// SearchPath are the directories in which the image's commands are looked for.
func (i *Image) SearchPath() []string {
	search := defaultPath
	for _, kv := range i.Config.Config.Env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			search = v
		}
	}
	var dirs []string
	for d := range strings.SplitSeq(search, ":") {
		if path.IsAbs(d) {
			dirs = append(dirs, path.Clean(d))
		}
	}
	return dirs
}

// LookPath finds a command as the runtime does: through PATH when it has no slash.
// The path is not resolved.
func (i *Image) LookPath(command string) (string, bool) {
	if strings.Contains(command, "/") {
		if !path.IsAbs(command) {
			command = path.Join("/", i.Config.Config.WorkingDir, command)
		}
		_, _, e, err := i.Follow(command)
		return path.Clean(command), err == nil && e != nil
	}
	for _, d := range i.SearchPath() {
		name := path.Join(d, command)
		if _, _, e, err := i.Follow(name); err == nil && e != nil && e.Mode.IsRegular() && e.Mode&0o111 != 0 {
			return name, true
		}
	}
	return "", false
}
