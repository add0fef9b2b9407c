// Package catalogue finds out which packages and files an image is made of, with
// Syft as a library, from the image's file system as imagefs indexed it. The same
// catalogue serves both kinds of SBOM and the vulnerability scan.
package catalogue

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/anchore/syft/syft"
	"github.com/anchore/syft/syft/cataloging"
	"github.com/anchore/syft/syft/cataloging/filecataloging"
	"github.com/anchore/syft/syft/cataloging/pkgcataloging"
	"github.com/anchore/syft/syft/file"
	"github.com/anchore/syft/syft/pkg/cataloger/golang"
	"github.com/anchore/syft/syft/sbom"
	"github.com/anchore/syft/syft/source"
	"github.com/anchore/syft/syft/source/directorysource"
	"github.com/anchore/syft/syft/source/stereoscopesource"

	"github.com/temper-images/temper/client/imagefs"
)

// Tool is the name of the tool in what is catalogued.
const Tool = "temper"

// Options say how a catalogue is made. The zero value is good.
type Options struct {
	// Reference is what the image or directory is called in documents:
	// "registry.example.com/team/app:1", "nginx". Empty stands for the digest.
	Reference string
	// RepoDigests are references by digest under which a registry has the image.
	RepoDigests []string
	// Version is Temper's own version, or empty for that of the build.
	Version string
	// Parallelism is how many files are looked at at once; 0 is one for each
	// processor. It changes no result.
	Parallelism int
	// Exclude are globs of paths that are left out, as Syft takes them: "./" or
	// "**/" at the start for directories, "/" or "**" for images.
	Exclude []string
	// Only lists packages alone, without digests of files: those that catalogers with
	// one of these tags of Syft's find, "os" for those of the distribution. "*" stands
	// for all catalogers. Empty lists everything.
	Only []string
}

// Image catalogues an image whose file system is fsys.
func Image(ctx context.Context, img v1.Image, fsys *imagefs.FS, o Options) (*sbom.SBOM, error) {
	synthetic, err := newImage(ctx, img, fsys, o)
	if err != nil {
		return nil, fmt.Errorf("catalogue image %s: %w", o.Reference, err)
	}
	src := stereoscopesource.New(synthetic, stereoscopesource.ImageConfig{
		Reference: o.Reference, Exclude: source.ExcludeConfig{Paths: o.Exclude},
	})
	return create(ctx, src, o)
}

// Directory catalogues the sources in dir, such as a build context: what they
// declare as well as what is installed there. No program of the sources and no
// network is used, and links do not lead out of dir.
func Directory(ctx context.Context, dir string, o Options) (*sbom.SBOM, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	fi, err := os.Stat(dir)
	if err == nil && !fi.IsDir() {
		err = &fs.PathError{Op: "open", Path: dir, Err: errors.New("not a directory")}
	}
	if err != nil {
		return nil, fmt.Errorf("catalogue sources: %w", err)
	}
	src, err := directorysource.New(directorysource.Config{
		Path: dir, Base: dir, Exclude: source.ExcludeConfig{Paths: o.Exclude}, Alias: source.Alias{Name: o.Reference},
	})
	if err != nil {
		return nil, fmt.Errorf("catalogue sources in %s: %w", dir, err)
	}
	return create(ctx, src, o)
}

func create(ctx context.Context, src source.Source, o Options) (_ *sbom.SBOM, err error) {
	defer func() { err = errors.Join(err, src.Close()) }()
	licences, err := scanner()
	if err != nil {
		return nil, fmt.Errorf("read the texts of known licences: %w", err)
	}
	s, err := syft.CreateSBOM(withValues{ctx, licences}, src, config(o))
	// Catalogers take a file that cannot be read for one that is not there.
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	if err != nil {
		return nil, fmt.Errorf("catalogue %s: %w", src.Describe().Name, err)
	}
	// The configuration has the image's variables, which are nobody's business in a
	// document about its packages; digests name it and the manifest.
	if m, ok := s.Source.Metadata.(source.ImageMetadata); ok {
		m.RawConfig, m.RawManifest = nil, nil
		s.Source.Metadata = m
	}
	return s, nil
}

// config is what Syft's command line does by default, without what runs programs.
func config(o Options) *syft.CreateSBOMConfig {
	version := o.Version
	if info, ok := debug.ReadBuildInfo(); ok && version == "" {
		version = info.Main.Version
	}
	parallelism := o.Parallelism
	if parallelism == 0 {
		// Syft's own default, four times as many, takes more memory and no less time.
		parallelism = runtime.NumCPU()
	}
	packages := pkgcataloging.DefaultConfig()
	packages.Golang = golang.DefaultCatalogerConfig().WithUsePackagesLib(false)
	if len(o.Only) > 0 {
		selection := cataloging.NewSelectionRequest()
		if !slices.Contains(o.Only, "*") {
			selection = selection.WithSubSelections(o.Only...)
		}
		return syft.DefaultCreateSBOMConfig().
			WithTool(Tool, version).
			WithParallelism(parallelism).
			WithPackagesConfig(packages).
			WithCatalogerSelection(selection).
			WithFilesConfig(filecataloging.DefaultConfig().WithSelection(file.NoFilesSelection))
	}
	return syft.DefaultCreateSBOMConfig().
		WithTool(Tool, version).
		WithParallelism(parallelism).
		WithPackagesConfig(packages).
		// SPDX wants SHA-1 of every file (SPDX 2.3, section 8.4).
		WithFilesConfig(filecataloging.DefaultConfig().WithHashers(crypto.SHA1, crypto.SHA256))
}
