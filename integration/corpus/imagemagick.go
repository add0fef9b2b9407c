package corpus

import (
	"bytes"
	"image"
	"os"
	"path/filepath"
	"strings"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "imagemagick", Bases: []string{"debian:bookworm-slim"}, Works: imagemagickWorks, Others: imagemagickOthers})
}

func imagemagickWorks(i *Instance) {
	w := newWorkshop(i)
	w.must("-size", "80x60", "gradient:red-blue", "a.png")
	for _, name := range []string{"a.jpg", "a.gif", "a.tif"} {
		w.must("a.png", "-resize", "40x30", name)
	}
	for name, want := range map[string]string{"a.png": "png", "a.jpg": "jpeg", "a.gif": "gif"} {
		format, size := w.decoded(name)
		require.Equal(i, want, format)
		require.Equal(i, map[string]image.Point{"a.png": {X: 80, Y: 60}}[name] == size, name == "a.png", "%s has size %s", name, size)
	}
	require.True(i, bytes.HasPrefix(w.read("a.tif"), []byte("II*\x00")), "TIFF")
}

// imagemagickOthers: a dozen other formats, text in a typeface, the other
// programs, colours by name, operations that need further libraries, and failures.
func imagemagickOthers(i *Instance) {
	w := newWorkshop(i)
	w.must("-size", "60x40", "plasma:fractal", "-depth", "8", "p.png")
	for _, ext := range []string{"webp", "bmp", "ppm", "xpm", "jp2", "tga", "pcx", "sgi", "ico", "miff", "psd", "dds", "fits", "sun", "xbm", "jng", "mng", "pgm", "txt", "jbig", "cin", "dpx", "pict", "rgb", "html", "json", "pdf", "ps", "svg"} {
		switch ext {
		case "pdf", "ps": // policy.xml of Debian refuses them, and their delegate is another package
			r := w.entrypoint("p.png", "p."+ext)
			require.NotZero(i, r.Code)
			require.Contains(i, r.Stderr, "not allowed by the security policy", ext)
			continue
		}
		w.must("p.png", "p."+ext)
		require.NotEmpty(i, w.read("p."+ext), ext)
	}
	for _, ext := range []string{"webp", "bmp", "ppm", "xpm", "jp2", "tga", "sgi", "psd", "dds", "jng"} {
		require.Equal(i, "60x40", w.mustRun("identify", "-format", "%wx%h", "p."+ext+"[0]"), ext)
	}
	w.must("p.png", "-compress", "LZW", "l.tif")
	w.must("p.png", "-compress", "Zip", "z.tif")
	w.must("p.png", "-compress", "JPEG", "j.tif")
	w.must("-monochrome", "p.png", "-compress", "Group4", "g.tif")
	w.must("-delay", "20", "p.png", "(", "p.png", "-negate", ")", "-loop", "0", "anim.gif")
	require.Equal(i, "2", strings.TrimSpace(w.mustRun("identify", "-format", "%n\n", "anim.gif"))[:1])

	w.must("-font", "DejaVu-Sans", "-pointsize", "24", "label:Grüße", "text.png")
	_, size := w.decoded("text.png")
	require.Greater(i, size.X, 50)
	require.Contains(i, w.must("-list", "font"), "DejaVu-Sans-Mono")
	require.Contains(i, w.must("-list", "color"), "goldenrod")
	require.Contains(i, w.must("-list", "type"), "TrueColor")
	require.Contains(i, w.must("-list", "magic"), "GIF")
	require.Contains(i, w.must("-list", "threshold"), "o8x8")
	require.Contains(i, w.must("-list", "delegate"), "mpeg")
	require.Contains(i, w.must("-list", "mime"), "image/png")
	w.must("p.png", "-ordered-dither", "h4x4a", "d.gif")
	w.must("-size", "30x30", "xc:goldenrod", "-fill", "DarkSlateGray", "-draw", "circle 15,15 15,5", "c.png")
	w.must("p.png", "-liquid-rescale", "50%", "q.png")
	w.must("p.png", "-fft", "+depth", "f.miff")
	w.must("p.png", "-colorspace", "Lab", "-blur", "0x2", "-colorspace", "sRGB", "b.png")
	w.mustRun("montage", "p.png", "c.png", "-geometry", "50x50+2+2", "m.png")
	w.mustRun("composite", "-gravity", "center", "c.png", "p.png", "o.png")
	w.mustRun("mogrify", "-format", "jpg", "-quality", "50", "o.png")
	require.Contains(i, w.mustRun("identify", "-verbose", "o.jpg"), "Quality: 50")
	r := w.run("compare", "-metric", "AE", "p.png", "o.png", "null:")
	require.Equal(i, 1, r.Code, "%s", r.Stderr)
	w.mustRun("stream", "-map", "rgb", "p.png", "raw.rgb")
	require.Len(i, w.read("raw.rgb"), 60*40*3)
	r = w.run("import", "-window", "root", "x.png")
	require.Equal(i, 1, r.Code)
	require.Contains(i, r.Stderr, "unable to open X server")

	r = w.entrypoint("absent.png", "x.png")
	require.Equal(i, 1, r.Code)
	require.Contains(i, r.Stderr, "No such file or directory")
	require.NoError(i, os.WriteFile(filepath.Join(w.dir, "broken.png"), []byte("\x89PNG\r\n\x1a\nbroken"), 0o644))
	require.Equal(i, 1, w.entrypoint("broken.png", "x.png").Code)
}
