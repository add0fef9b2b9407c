package corpus

import (
	"net/http"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "node", Bases: []string{"debian:bookworm", "debian:bookworm-slim"}, Works: nodeWorks, Others: nodeOthers})
}

const nodeURL = "http://127.0.0.1:3000"

func nodeWorks(i *Instance) {
	i.Start(Process{})
	status, body := i.Get(nodeURL + "/digest?text=abc")
	require.Equal(i, http.StatusOK, status, body)
	require.JSONEq(i, `{"sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "sum": 38600999}`, body)
	_, body = i.Get(nodeURL + "/date?locale=de-AT&zone=Europe/Vienna")
	require.Equal(i, `"Dienstag, 14. November 2023 um 23:13"`, body)
}

// nodeOthers: the rest of the platform, failures, the interpreter's command line.
func nodeOthers(i *Instance) {
	i.Start(Process{})
	status, body := i.Get(nodeURL + "/absent")
	require.Equal(i, http.StatusNotFound, status)
	require.Equal(i, "no such page\n", body)
	ask(i, nodeURL+"/more?what=", map[string]string{
		"encodings":   `["日本", "Привет", "日本"]`,
		"intl":        `["१,२३,४५६.७", "١٥ نوفمبر ٢٠٢٣", "ozö", "few", 2, "i"]`,
		"compression": `["squeezed", "zipped"]`,
		"worker":      `6765`,
		"modules":     `"corpus-app"`,
		"commonjs":    `"function"`,
		"wasm":        `5`,
		"fetch":       `[404, "no such page\n"]`,
		"socket":      `"echo"`,
		"tls":         `[true, true, true]`,
		"kdf":         `["48b0d2a8", 4, "0909377a"]`,
		"lookup":      `"127.0.0.1"`,
		"child":       `"42"`,
		"shell":       `"from a shell"`,
		"user":        `["` + userName(i) + `", "` + userHome(i) + `"]`,
		"files":       `true`,
		"report":      `"JavaScript API"`,
		"builtins":    `[]`,
		"zones":       `[true, "15/11/2023, 03:58:20"]`,
	})
	_, body = i.Get(nodeURL + "/date?locale=ja&zone=Asia/Tokyo")
	require.Equal(i, `"2023年11月15日水曜日 7:13"`, body)
	_, body = i.Get(nodeURL + "/date?locale=en&zone=Absent/Zone")
	require.Contains(i, body, "RangeError")
	require.Equal(i, "true\n", i.ExecOutput("node", "--input-type=module", "-e", "import { basename } from 'path'; console.log(basename('/a/true'))"))
	r := i.Exec(Process{Args: []string{"node", "absent.js"}})
	require.Contains(i, r.Stderr, "Cannot find module")
	require.Equal(i, "3\n", i.ExecOutput("node", "-e", "require('repl'); console.log(1 + 2)"))
}
