package corpus

import (
	"net/http"
	"strings"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "java", Bases: []string{"debian:bookworm", "debian:bookworm-slim"}, Works: javaWorks, Others: javaOthers})
}

func javaWorks(i *Instance) {
	i.Start(Process{})
	requirePage(i, "2024-07-01T02:00:00+02:00", page("/time", "at", "2024-07-01T00:00:00Z", "zone", "Europe/Vienna"))
	requirePage(i, "hello over TLS TLSv1.3", page("/tls"))
}

// javaOthers: other zones, languages, encodings, XML, pictures, archives, ciphers,
// the trusted authorities, management, preferences, another collector, JFR, a
// debugger, and failures.
func javaOthers(i *Instance) {
	i.Start(Process{Env: []string{"JAVA_TOOL_OPTIONS=-XX:+UseSerialGC -XX:StartFlightRecording:filename=/tmp/r.jfr -agentlib:jdwp=transport=dt_socket,server=y,suspend=n,address=127.0.0.1:5005"}})
	requirePage(i, "2024-07-01T05:45:00+05:45", page("/time", "at", "2024-07-01T00:00:00Z", "zone", "Asia/Kathmandu"))
	requirePage(i, "Montag, 1. Juli 2024", page("/time", "at", "2024-07-01T00:00:00Z", "zone", "UTC", "locale", "de-AT"))
	requirePage(i, "2024年7月1日月曜日", page("/time", "at", "2024-07-01T00:00:00Z", "zone", "UTC", "locale", "ja-JP"))
	requireError(i, "ZoneRulesException", page("/time", "at", "2024-07-01T00:00:00Z", "zone", "Nowhere/Here"))
	for name, want := range map[string]string{
		"EUC-JP": "c6fccbdc", "Shift_JIS": "93fa967b", "GB18030": "c8d5b1be", "Big5-HKSCS": "a4e9a5bb", "UTF-16LE": "e5652c67", "IBM1047": "3f3f",
	} {
		requirePage(i, want, page("/charset", "name", name, "text", "日本"))
	}
	requireError(i, "UnsupportedCharsetException", page("/charset", "name", "no-such", "text", "x"))
	requirePage(i, "2 items for 7", page("/xml"))
	for _, format := range []string{"png", "jpeg", "gif", "bmp", "tiff"} {
		requirePage(i, "64x32 true", page("/image", "format", format))
	}
	requireError(i, "no writer for webp", page("/image", "format", "webp"))
	requirePage(i, "inside", page("/zip"))
	requirePage(i, "secret EdDSA true", page("/crypto"))
	requirePage(i, "true", page("/trust"))
	requirePage(i, "managed", page("/management"))
	requirePage(i, "blue", page("/prefs"))
	status, _ := i.Get(page("/absent"))
	require.Equal(i, http.StatusNotFound, status)

	conn := i.Dial("tcp", "127.0.0.1:5005")
	_, err := conn.Write([]byte("JDWP-Handshake"))
	require.NoError(i, err)
	answer := make([]byte, 14)
	_, err = conn.Read(answer)
	require.NoError(i, err)
	require.Equal(i, "JDWP-Handshake", string(answer))
	require.NoError(i, conn.Close())

	require.Contains(i, i.Output("java", "--list-modules"), "java.security.jgss@17")
	require.Contains(i, i.Output("java", "-XX:+UseShenandoahGC", "-Xlog:gc*:stdout", "-version"), "Shenandoah")
	keys := i.Run(Process{Args: []string{"keytool", "-list", "-keystore", "server.p12", "-storepass", "changeit"}})
	require.Zero(i, keys.Code, "%s%s", keys.Stdout, keys.Stderr)
	require.Contains(i, keys.Stdout, "PrivateKeyEntry")
	wrong := i.Run(Process{Args: []string{"java", "-jar", "absent.jar"}})
	require.Equal(i, 1, wrong.Code)
	require.True(i, strings.Contains(wrong.Stderr, "Unable to access jarfile"), "%s", wrong.Stderr)
}
