package corpus

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/stretchr/testify/require"
)

// The types of records (FastCGI Specification 1.0, section 8).
const (
	fcgiBegin  = 1
	fcgiEnd    = 3
	fcgiParams = 4
	fcgiStdin  = 5
	fcgiStdout = 6
	fcgiStderr = 7
)

// fastCGI sends one request to the responder at addr in the instance's network,
// with the parameters of params, and returns the status, the body and what the
// application wrote to its error stream.
func fastCGI(i *Instance, addr string, params map[string]string, body string) (status int, answer, problems string) {
	conn := i.Dial("tcp", addr)
	defer conn.Close()
	w := bufio.NewWriter(conn)
	// Role 1 is a responder; no flag means that the peer closes the connection.
	fcgiRecord(w, fcgiBegin, []byte{0, 1, 0, 0, 0, 0, 0, 0})
	var pairs []byte
	for name, value := range params {
		for _, s := range []string{name, value} {
			pairs = binary.BigEndian.AppendUint32(pairs, uint32(len(s))|1<<31)
		}
		pairs = append(append(pairs, name...), value...)
	}
	fcgiRecord(w, fcgiParams, pairs)
	fcgiRecord(w, fcgiParams, nil)
	if body != "" {
		fcgiRecord(w, fcgiStdin, []byte(body))
	}
	fcgiRecord(w, fcgiStdin, nil)
	require.NoError(i, w.Flush())

	var out, errs strings.Builder
	for r := bufio.NewReader(conn); ; {
		var header [8]byte
		_, err := io.ReadFull(r, header[:])
		require.NoError(i, err, "%s%s", out.String(), i.log())
		content := make([]byte, binary.BigEndian.Uint16(header[4:])+uint16(header[6]))
		_, err = io.ReadFull(r, content)
		require.NoError(i, err)
		content = content[:len(content)-int(header[6])]
		switch header[1] {
		case fcgiStdout:
			out.Write(content)
		case fcgiStderr:
			errs.Write(content)
		case fcgiEnd:
			head, answer, ok := strings.Cut(out.String(), "\r\n\r\n")
			require.True(i, ok, "no header in %q", out.String())
			status := http.StatusOK
			for line := range strings.SplitSeq(head, "\r\n") {
				if v, ok := strings.CutPrefix(line, "Status: "); ok {
					_, err := fmt.Sscan(v, &status)
					require.NoError(i, err)
				}
			}
			return status, answer, errs.String()
		}
	}
}

// fcgiRecord writes a record of request 1. What goes wrong is found by Flush.
func fcgiRecord(w *bufio.Writer, kind byte, content []byte) {
	n := len(content)
	_, _ = w.Write([]byte{1, kind, 0, 1, byte(n >> 8), byte(n), 0, 0})
	_, _ = w.Write(content)
}
