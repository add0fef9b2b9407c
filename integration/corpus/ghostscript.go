package corpus

import (
	"bytes"
	"image"
	"os"
	"path/filepath"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "ghostscript", Bases: []string{"debian:bookworm-slim"}, Works: ghostscriptWorks, Others: ghostscriptOthers})
}

const letter = "/usr/local/share/letter.ps"

func ghostscriptWorks(i *Instance) {
	w := newWorkshop(i)
	w.must("-sDEVICE=pdfwrite", "-sOutputFile=letter.pdf", letter)
	require.True(i, bytes.HasPrefix(w.read("letter.pdf"), []byte("%PDF-1.7")))
	w.must("-sDEVICE=png16m", "-r72", "-sOutputFile=letter.png", "letter.pdf")
	format, size := w.decoded("letter.png")
	require.Equal(i, "png", format)
	require.Equal(i, image.Pt(300, 200), size)
}

// ghostscriptOthers: text, other devices, typefaces that the letter does not use,
// colour profiles, the programs around gs that are shell scripts, and failures.
func ghostscriptOthers(i *Instance) {
	w := newWorkshop(i)
	require.Contains(i, w.must("-sDEVICE=txtwrite", "-sOutputFile=-", letter), "set in two typefaces")
	require.Contains(i, w.entrypoint("-sDEVICE=bbox", letter).Stderr, "%%BoundingBox: 39 ")
	require.Contains(i, w.must("-sDEVICE=inkcov", "-sOutputFile=-", letter), "CMYK OK")
	for _, device := range []string{"jpeg", "tiffg4", "tiff24nc", "pngalpha", "bmp16m", "pxlcolor", "ljet4", "ps2write", "eps2write", "psdcmyk", "pcxmono", "epson", "xpswrite", "pclm", "cups", "ocr"} {
		r := w.entrypoint("-sDEVICE="+device, "-r72", "-sOutputFile=letter."+device, letter)
		if device == "ocr" || device == "cups" {
			require.NotContains(i, r.Stderr, "error while loading shared libraries", device)
			continue
		}
		require.Zero(i, r.Code, "%s: %s%s", device, r.Stdout, r.Stderr)
		require.NotEmpty(i, w.read("letter."+device), device)
	}
	fonts := "%!\n/y 700 def\n[/Courier-Bold /Symbol /ZapfDingbats /Palatino-Roman /Bookman-Demi /AvantGarde-Book /NewCenturySchlbk-Italic /ZapfChancery-MediumItalic] " +
		"{ findfont 20 scalefont setfont 50 y moveto (abc) show /y y 30 sub def } forall showpage\n"
	require.NoError(i, os.WriteFile(filepath.Join(w.dir, "fonts.ps"), []byte(fonts), 0o644))
	w.must("-sDEVICE=pdfwrite", "-sOutputFile=fonts.pdf", "fonts.ps")
	for _, name := range []string{"+Palatino-Roman", "+Bookman-Demi", "+AvantGarde-Book", "+NewCenturySchlbk-Italic", "+ZapfChancery-MediumItalic"} {
		require.Contains(i, string(w.read("fonts.pdf")), name)
	}
	w.must("-sDEVICE=pdfwrite", "-dPDFA=2", "-sColorConversionStrategy=CMYK", "-sOutputFile=cmyk.pdf", letter)
	w.must("-sDEVICE=pdfwrite", "-sOwnerPassword=a", "-sUserPassword=b", "-sOutputFile=locked.pdf", letter)
	refused := w.entrypoint("-sDEVICE=png16m", "-sOutputFile=x.png", "locked.pdf")
	require.Contains(i, refused.Stdout+refused.Stderr, "requires a password")
	w.must("-sDEVICE=png16m", "-sPDFPassword=b", "-sOutputFile=x.png", "locked.pdf")
	cid := "%!\n/Japanese /UniJIS-UTF16-H [/HeiseiMin-W3] composefont pop\n/Identity-H /CMap findresource pop (found) = flush\n"
	require.NoError(i, os.WriteFile(filepath.Join(w.dir, "cid.ps"), []byte(cid), 0o644))
	require.NotEmpty(i, w.entrypoint("-sDEVICE=nullpage", "cid.ps").Stdout)

	w.mustRun("ps2pdf", letter, "script.pdf")
	w.mustRun("pdf2ps", "script.pdf", "script.ps")
	w.mustRun("ps2ps", letter, "again.ps")
	w.mustRun("ps2epsi", letter, "letter.epsi")
	require.Contains(i, w.mustRun("ps2ascii", letter), "Dear reader")
	w.mustRun("eps2eps", "letter.eps2write", "eps.eps")
	require.Contains(i, w.mustRun("gs", "-q", "-dNODISPLAY", "-dBATCH", "-c", "(%stdout) (w) file 1 2 add 20 string cvs writestring"), "3")

	r := w.entrypoint("-sDEVICE=no-such-device", letter)
	require.NotZero(i, r.Code)
	require.Contains(i, r.Stdout+r.Stderr, "Unknown device: no-such-device")
	require.NoError(i, os.WriteFile(filepath.Join(w.dir, "broken.ps"), []byte("%!\nnonsense\n"), 0o644))
	r = w.entrypoint("-sDEVICE=nullpage", "broken.ps")
	require.NotZero(i, r.Code)
	require.Contains(i, r.Stdout, "Error: /undefined in nonsense")
}
