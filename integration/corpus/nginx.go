package corpus

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "nginx", Bases: []string{"debian:bookworm"}, Prepare: nginxPhoto, Works: nginxWorks, Others: nginxOthers})
}

// nginxPhoto adds a photograph of 32 by 16 pixels.
func nginxPhoto(_ context.Context, dir string) error {
	img := image.NewRGBA(image.Rect(0, 0, 32, 16))
	for x := range 32 {
		for y := range 16 {
			img.Set(x, y, color.RGBA{R: uint8(8 * x), G: uint8(16 * y), B: 128, A: 255})
		}
	}
	var buf bytes.Buffer
	if err := jpeg.Encode(&buf, img, nil); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "site", "photo.jpg"), buf.Bytes(), 0o644)
}

func nginxWorks(i *Instance) {
	greeter(i, "127.0.0.1:9001", "from behind\n")
	i.Start(Process{})
	res, body := i.Do(http.MethodGet, "http://127.0.0.1:8080/", nil, "")
	require.Equal(i, http.StatusOK, res.StatusCode)
	require.Equal(i, "text/html; charset=utf-8", res.Header.Get("Content-Type"))
	require.Equal(i, "corpus", res.Header.Get("X-Served-By"))
	require.Contains(i, body, "Grüße")

	require.Equal(i, image.Pt(8, 4), nginxSize(i, "/small/photo.jpg"))

	status, body := i.Get("http://127.0.0.1:8080/echo/this")
	require.Equal(i, http.StatusOK, status)
	require.Equal(i, "you asked GET /echo/this\n", body)

	conn := i.Dial("tcp", "127.0.0.1:9000")
	defer conn.Close()
	dt, err := io.ReadAll(conn)
	require.NoError(i, err)
	require.Equal(i, "from behind\n", string(dt))
}

// nginxSize asks for an image and returns its width and height.
func nginxSize(i *Instance, path string) image.Point {
	status, body := i.Get("http://127.0.0.1:8080" + path)
	require.Equal(i, http.StatusOK, status)
	img, err := jpeg.DecodeConfig(strings.NewReader(body))
	require.NoError(i, err)
	return image.Pt(img.Width, img.Height)
}

// nginxOthers: the other modules, error pages, compression, and a reload.
func nginxOthers(i *Instance) {
	i.Start(Process{})
	at := func(path string) string { return "http://127.0.0.1:8080" + path }
	status, body := i.Get(at("/lua"))
	require.Equal(i, http.StatusOK, status, body)
	require.Equal(i, "mpE4A3TQX5O9ark2LerseQ== 03.14\n", body)
	status, body = i.Get(at("/js"))
	require.Equal(i, http.StatusOK, status, body)
	require.JSONEq(i, `{"method": "GET", "sum": 6}`, body)
	status, body = i.Get(at("/books.xml"))
	require.Equal(i, http.StatusOK, status, body)
	require.Contains(i, strings.ReplaceAll(body, "\n", ""), "<ul><li>Dracula</li><li>Frankenstein</li></ul>")
	require.Equal(i, image.Pt(16, 32), nginxSize(i, "/turned/photo.jpg"))
	for _, list := range []string{"/list/", "/plain/"} {
		status, body = i.Get(at(list))
		require.Equal(i, http.StatusOK, status)
		require.Contains(i, body, "Index of "+list)
		require.Contains(i, body, "index.html")
	}

	status, body = i.Get(at("/nothing"))
	require.Equal(i, http.StatusNotFound, status)
	require.Contains(i, body, "There is no such page.")
	status, body = i.Get(at("/down"))
	require.Equal(i, http.StatusBadGateway, status)
	require.Contains(i, body, "502 Bad Gateway")
	status, _ = i.Get(at("/private"))
	require.Equal(i, http.StatusUnauthorized, status)
	res, _ := i.Do(http.MethodGet, at("/private"), http.Header{"Authorization": {"Basic cmVhZGVyOndyb25n"}}, "")
	require.Equal(i, http.StatusUnauthorized, res.StatusCode, "an unknown user, as PAM says")

	res, body = i.Do(http.MethodGet, at("/style.css"), http.Header{"Accept-Encoding": {"gzip"}}, "")
	require.Equal(i, "gzip", res.Header.Get("Content-Encoding"))
	require.Contains(i, gunzip(i, body), "font-family")
	res, _ = i.Do(http.MethodGet, at("/brotli/style.css"), http.Header{"Accept-Encoding": {"br"}}, "")
	require.Equal(i, "br", res.Header.Get("Content-Encoding"))
	res, body = i.Do(http.MethodGet, at("/style.css"), http.Header{"Range": {"bytes=0-3"}}, "")
	require.Equal(i, http.StatusPartialContent, res.StatusCode)
	require.Equal(i, "body", body)

	require.NoError(i, i.Service().Signal("HUP"))
	status, _ = i.Get(at("/"))
	require.Equal(i, http.StatusOK, status)
	require.Contains(i, i.Run(Process{Args: []string{"nginx", "-t"}}).Stderr, "test is successful")
	require.Contains(i, i.Run(Process{Args: []string{"nginx", "-V"}}).Stderr, "--with-http_ssl_module")
}

// greeter sends words to everybody who connects to addr in the instance's network.
func greeter(i *Instance, addr, words string) {
	l := i.Listen("tcp", addr)
	context.AfterFunc(i.Context(), func() { _ = l.Close() })
	go serve(l, func(conn net.Conn) { fmt.Fprint(conn, words) })
}

// serve calls f for each connection until the listener is closed.
func serve(l net.Listener, f func(net.Conn)) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			f(conn)
		}()
	}
}
