// Package settings reads temper.yaml for the client, from the places where the
// frontend looks for it and with the same overrides, as far as they are on this
// machine.
package settings

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/temper-images/temper/frontend/config"
)

// Settings are what temper.yaml and its overrides say.
type Settings struct {
	config.Config
	// File is the file that was read, or empty.
	File string
	// Dir is the directory that paths in the file start from, or empty when the
	// context is not a directory.
	Dir string
	// Remote says that the file, if there is one, lies where only the builder
	// looks, so that Config holds no more than defaults and overrides.
	Remote bool
}

// Options say where to look.
type Options struct {
	// Context and Dockerfile are those of the build; see build.Request.
	Context    string
	Dockerfile string
	// File is a temper.yaml that takes the place of the context's.
	File string
	// BuildArgs may override fields, "TEMPER_SCAN_GATE=warn"; a name alone takes
	// its value from the environment, through LookupEnv.
	BuildArgs []string
	LookupEnv func(string) (string, bool)
}

// Load reads the settings. What is wrong in the file or in an override is one or
// several joined *config.Error.
func Load(o Options) (*Settings, error) {
	s := &Settings{Config: config.Default()}
	dir := o.Context
	if dir == "" {
		dir = "."
	}
	fi, err := os.Stat(dir)
	local := err == nil && fi.IsDir()
	if local {
		s.Dir = dir
	}
	switch {
	case o.File != "":
		if err := s.read(o.File); err != nil {
			return nil, fmt.Errorf("read the settings: %w", err)
		}
		if s.Dir == "" {
			s.Dir = filepath.Dir(o.File)
		}
	case local:
		if err := s.find(dir, o.Dockerfile); err != nil {
			return nil, err
		}
	default:
		s.Remote = true
	}
	return s, s.Override(overrides(o))
}

// find reads the file of a local context: in its root, or beside the Dockerfile.
func (s *Settings) find(dir, dockerfile string) error {
	places := []string{dir}
	if dockerfile != "" && dockerfile != "-" {
		places = append(places, filepath.Dir(dockerfile))
	}
	for _, place := range places {
		err := s.read(filepath.Join(place, config.FileName))
		if err == nil {
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read the settings: %w", err)
		}
	}
	return nil
}

func (s *Settings) read(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	// One byte more than allowed lets Read say that the file is too large.
	dt, err := io.ReadAll(io.LimitReader(f, config.MaxSize+1))
	if err != nil {
		return err
	}
	s.File = file
	return s.Read(file, dt)
}

// overrides are the build arguments as the frontend gets them.
func overrides(o Options) map[string]string {
	out := map[string]string{}
	for _, arg := range o.BuildArgs {
		name, value, ok := strings.Cut(arg, "=")
		if !ok && o.LookupEnv != nil {
			value, ok = o.LookupEnv(name)
		}
		if ok {
			out["build-arg:"+name] = value
		}
	}
	return out
}
