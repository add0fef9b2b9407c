package corpus

import (
	"strings"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "tesseract", Bases: []string{"debian:bookworm", "debian:bookworm-slim"}, Works: tesseractWorks, Others: tesseractOthers})
}

func tesseractWorks(i *Instance) {
	r := i.Run(Process{})
	require.Zero(i, r.Code, "%s", r.Stderr)
	// It takes the small letter at the beginning of a line for a capital.
	require.Equal(i, "the quick brown fox\njumps over the lazy dog.", strings.ToLower(strings.TrimSpace(r.Stdout)))
}

// tesseractOthers: another language, other forms of pictures and of output, the
// orientation of a page, the other programs, and failures.
func tesseractOthers(i *Instance) {
	w := newWorkshop(i)
	require.Contains(i, w.must("/samples/german.tif", "-", "-l", "deu"), "Fußgängerzone")
	for _, name := range []string{"english.jpg", "english.webp"} {
		require.Contains(i, w.must("/samples/"+name, "-", "--psm", "6"), "quick brown fox", name)
	}
	for config, want := range map[string]string{
		"hocr": "ocrx_word", "tsv": "\tquick", "alto": "CONTENT=\"quick\"", "makebox": "q ", "txt": "quick", "wordstrbox": "WordStr", "lstmbox": "q ",
	} {
		require.Contains(i, w.must("/samples/english.png", "-", config), want, config)
	}
	w.must("/samples/english.png", "page", "pdf")
	require.Contains(i, string(w.read("page.pdf")), "%PDF")
	require.Contains(i, w.must("/samples/upside-down.png", "-", "--psm", "0"), "Rotate: 180")
	require.Contains(i, w.must("--list-langs"), "deu\neng\nosd")
	require.Contains(i, w.must("--print-parameters"), "tessedit_char_whitelist")
	require.Contains(i, w.must("/samples/english.png", "-", "digits"), "\n")

	r := w.run("combine_tessdata", "-d", "/usr/share/tesseract-ocr/5/tessdata/eng.traineddata")
	require.Zero(i, r.Code, "%s", r.Stderr)
	require.Contains(i, r.Stdout+r.Stderr, "lstm")
	require.Contains(i, w.mustRun("text2image", "--list_available_fonts", "--fonts_dir", "/usr/share/fonts"), "")
	r = w.entrypoint("/samples/english.png", "-", "-l", "xyz")
	require.NotZero(i, r.Code)
	require.Contains(i, r.Stderr, "Failed loading language 'xyz'")
	r = w.entrypoint("/samples/absent.png", "-")
	require.NotZero(i, r.Code)
}
