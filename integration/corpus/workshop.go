package corpus

import (
	"bytes"
	"image"
	_ "image/gif"  // the formats that the applications answer with
	_ "image/jpeg" // likewise
	_ "image/png"  // likewise
	"os"
	"path/filepath"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/container"
)

// workshop runs an image's programs with the directory /work that all share.
type workshop struct {
	*Instance
	dir string
}

func newWorkshop(i *Instance) workshop { return workshop{i, i.Shared("work")} }

// entrypoint runs the image's own entrypoint with arguments.
func (w workshop) entrypoint(args ...string) container.Result {
	file, err := w.Image.ConfigFile()
	require.NoError(w, err)
	return w.run(append(append([]string{}, file.Config.Entrypoint...), args...)...)
}

func (w workshop) run(args ...string) container.Result {
	return w.Run(Process{Args: args, Mounts: []container.Mount{Writable(w.dir, "/work")}})
}

// must is entrypoint for what must succeed; it returns standard output.
func (w workshop) must(args ...string) string {
	return w.succeeded(args, w.entrypoint(args...))
}

// mustRun is run for what must succeed.
func (w workshop) mustRun(args ...string) string {
	return w.succeeded(args, w.run(args...))
}

// read reads a file that a program left in /work.
func (w workshop) read(name string) []byte {
	dt, err := os.ReadFile(filepath.Join(w.dir, name))
	require.NoError(w, err)
	return dt
}

// decoded is the format and the size of a picture, as Go's decoders see it.
func (w workshop) decoded(name string) (format string, size image.Point) {
	img, format, err := image.Decode(bytes.NewReader(w.read(name)))
	require.NoError(w, err, name)
	return format, img.Bounds().Size()
}
