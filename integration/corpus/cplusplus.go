package corpus

import (
	"net/http"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "cplusplus", Bases: []string{"debian:bookworm", "debian:bookworm-slim"}, Works: cplusplusWorks, Others: cplusplusOthers})
}

func cplusplusWorks(i *Instance) {
	i.Start(Process{})
	requirePage(i, "dlrow", page("/plugin", "name", "reverse", "text", "world"))
	requirePage(i, "fc", page("/iconv", "to", "ISO-8859-1", "text", "ü"))
	requirePage(i, "127.0.0.1 8080", page("/resolve", "host", "localhost", "service", "8080"))
	requirePage(i, "0 root /root", page("/user", "name", "root"))
}

// cplusplusOthers: encodings, plugins, services, protocols and time zones that
// nothing names, a locale, and what each says when it fails.
func cplusplusOthers(i *Instance) {
	i.Start(Process{})
	for encoding, want := range map[string]string{
		"EUC-JP":           "c6fccbdc",
		"SHIFT_JIS":        "93fa967b",
		"ISO-2022-JP":      "1b2442467c4b5c1b2842",
		"GB18030":          "c8d5b1be",
		"BIG5":             "a4e9a5bb",
		"UTF-16BE":         "65e5672c",
		"UTF-7":            "2b5a65566e4c412d",
		"EUC-KR":           "eceddce2",
		"ASCII//TRANSLIT":  "3f3f",
		"EUC-JISX0213":     "c6fccbdc",
		"ISO-2022-CN-EXT":  "1b2429410e4855313e0f",
		"UTF-32LE//IGNORE": "e56500002c670000",
	} {
		requirePage(i, want, page("/iconv", "to", encoding, "text", "日本"))
	}
	requirePage(i, "83", page("/iconv", "to", "CP1252", "text", "ƒ"))
	requirePage(i, "c3bc", page("/iconv", "from", "EBCDIC-AT-DE", "to", "UTF-8", "text", "\xd0"))
	requireError(i, "Invalid argument", page("/iconv", "to", "NO-SUCH-ENCODING", "text", "x"))
	requireError(i, "Invalid or incomplete multibyte", page("/iconv", "to", "ISO-8859-2", "text", "日本"))

	requirePage(i, "909783072", page("/plugin", "name", "checksum", "text", "hello\n"))
	requireError(i, "plugin refuses it", page("/plugin", "name", "fail", "text", "it"))
	requireError(i, "cannot open shared object file", page("/plugin", "name", "absent", "text", ""))

	requirePage(i, "127.0.0.1 443", page("/resolve", "host", "localhost", "service", "https"))
	requireError(i, "getaddrinfo: ", page("/resolve", "host", "nowhere.example.test"))
	requirePage(i, "6", page("/protocol", "name", "tcp"))
	requirePage(i, "1 daemon /usr/sbin", page("/user", "name", "daemon"))
	requireError(i, "no such user", page("/user", "name", "nobody-of-that-name"))

	requirePage(i, "2024-07-01 02:00:00 CEST", page("/time", "zone", "Europe/Vienna", "at", "1719792000"))
	requirePage(i, "2024-07-01 05:45:00 +0545", page("/time", "zone", "Asia/Kathmandu", "at", "1719792000"))
	requirePage(i, "2024-06-30 20:00:00 EDT", page("/time", "zone", "posix/America/New_York", "at", "1719792000"))

	requirePage(i, "C.UTF-8 matches", page("/locale", "name", "C.UTF-8", "text", "abc", "match", "[[:alpha:]]+"))
	requireError(i, "no such locale", page("/locale", "name", "xx_YY.UTF-8"))
	status, _ := i.Get(page("/absent"))
	require.Equal(i, http.StatusNotFound, status)
}
