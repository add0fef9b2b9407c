package report

import (
	"bytes"
	"crypto/sha256"
	"embed"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/docker/go-units"
)

//go:embed page/*.html
var files embed.FS

//go:embed page/style.css
var style string

// page is parsed once; a template that does not parse is found by any test.
var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"size":  size,
	"count": count,
	"unit":  func(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) },
	"heading": func(v *view, section, text string) heading {
		return heading{ID: v.ID + "-h-" + section, Text: text, Deep: v.Several}
	},
}).ParseFS(files, "page/*.html"))

// size writes a number of bytes in three digits, with the unit apart.
func size(n int64) string {
	s := units.HumanSizeWithPrecision(float64(n), 3)
	i := strings.IndexFunc(s, unicode.IsLetter)
	return s[:i] + "\u00a0" + s[i:]
}

// count writes a number in groups of three.
func count(n int) string {
	s := strconv.Itoa(n)
	if n < 0 {
		return s
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Options say how a page is written.
type Options struct {
	// Version is Temper's, for the foot of the page.
	Version string
	// Store is where the evidence is kept, for the commands, or empty.
	Store string
	// Key is the name of the file with the public key, for the commands; empty means
	// cosign.pub.
	Key string
}

// Write writes the page. Equal releases and options give equal bytes.
func (r *Release) Write(w io.Writer, o Options) error {
	css := template.CSS(style) //nolint:gosec // it is a file of ours
	sum := sha256.Sum256([]byte(style))
	v := &pageView{
		Style:   css,
		Policy:  "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'",
		Options: o,
	}
	for i, img := range r.Images {
		one := newView(img, "i"+strconv.Itoa(i+1), o)
		one.Several = len(r.Images) > 1
		v.Images = append(v.Images, one)
	}
	v.Title = r.title()
	var b bytes.Buffer
	if err := page.ExecuteTemplate(&b, "page.html", v); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// title is what the images have in common.
func (r *Release) title() string {
	if len(r.Images) == 0 {
		return "nothing"
	}
	name := r.Images[0].title()
	for _, img := range r.Images[1:] {
		if img.title() != name {
			return fmt.Sprintf("%d images", len(r.Images))
		}
	}
	return name
}

func (img *Image) title() string {
	if img.Reference != "" {
		return img.Reference
	}
	return img.Name
}

// heading is the heading of a section. Deep ones are below the heading of an image.
type heading struct {
	ID, Text string
	Deep     bool
}

// Label are the identifiers of the headings that name a section.
func (v *view) Label(section string) string {
	label := v.ID + "-h-" + section
	if v.Several {
		label += " " + v.ID + "-title"
	}
	return label
}

// pageView is what the page shows.
type pageView struct {
	Title  string
	Policy string
	Style  template.CSS
	Images []*view
	Options
}

// Several says that there is more than one image.
func (p *pageView) Several() bool { return len(p.Images) > 1 }
