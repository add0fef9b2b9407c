package corpus

import (
	"bytes"
	"io"
	"os"
	"path/filepath"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func init() {
	register(App{Name: "multicall", Bases: []string{"debian:bookworm"}, Works: multicallWorks, Others: multicallOthers, Quick: true})
}

// multicallWorks: a program that is known under a name of the alternatives system.
// The container runs without new privileges, so the file's capability has no
// effect in it; that it is still there is what counts.
func multicallWorks(i *Instance) {
	i.Start(Process{Args: []string{"greeter", "8080"}})
	dt, err := io.ReadAll(i.Dial("tcp", "127.0.0.1:8080"))
	require.NoError(i, err)
	require.Equal(i, "Hello.\n", string(dt))
	value := make([]byte, 64)
	n, err := unix.Lgetxattr(filepath.Join(i.Root, "opt/greet/bin/greet"), "security.capability", value)
	require.NoError(i, err)
	// VFS_CAP_REVISION_2 with the effective bit, and CAP_NET_BIND_SERVICE (10).
	require.True(i, bytes.HasPrefix(value[:n], []byte{1, 0, 0, 2, 0, 4, 0, 0}), "%x", value[:n])
}

// multicallOthers: the other names and links, and the programs of Debian that come
// with hardlinks, capabilities and alternatives of their own.
func multicallOthers(i *Instance) {
	require.Equal(i, "Good bye.\n", i.Output("/opt/greet/bin/bye"))
	require.Equal(i, "?\n", i.Output("/opt/greet/bin/greet"))
	sameFile(i, "/opt/greet/bin/greet", "/opt/greet/bin/hello", "/opt/greet/bin/bye")
	sameFile(i, "/usr/bin/bzip2", "/usr/bin/bunzip2", "/usr/bin/bzcat")
	require.Equal(i, "/opt/greet/bin/greet cap_net_bind_service=ep\n", i.Output("getcap", "/opt/greet/bin/greet"))

	target, err := os.Readlink(filepath.Join(i.Root, "etc/alternatives/awk"))
	require.NoError(i, err)
	require.Equal(i, "/usr/bin/gawk", target)
	require.Equal(i, "BEGIN\n", i.Output("awk", `BEGIN { print toupper(gensub(/x/, "", "g", "xbegin")) }`))
	require.Equal(i, "12\n", i.Output("awk", "-i", "inplace", `BEGIN { print 12 }`))
	require.Equal(i, "1970\n", i.Output("gawk", "-l", "time", `BEGIN { print strftime("%Y", 0) }`))
	require.Equal(i, "0c\n", i.Output("gawk", "-l", "ordchr", `BEGIN { printf "%02x\n", ord("\f") }`))

	r := i.Run(Process{Args: []string{"bzip2"}, Stdin: "words"})
	require.Zero(i, r.Code, "%s", r.Stderr)
	require.Equal(i, "words", i.Run(Process{Args: []string{"bzcat"}, Stdin: r.Stdout}).Stdout)
	i.File("w/words.bz2", r.Stdout)
	require.Equal(i, "words", i.Run(Process{Args: []string{"bunzip2"}, Stdin: r.Stdout}).Stdout)
	r = i.Run(Process{Args: []string{"bzgrep", "-c", "word"}, Stdin: r.Stdout})
	require.Equal(i, "1\n", r.Stdout, "%s", r.Stderr)
	r = i.Run(Process{Args: []string{"bzip2", "-d"}, Stdin: "not compressed"})
	require.Equal(i, 2, r.Code)
	require.Contains(i, r.Stderr, "not a bzip2 file")
	require.Contains(i, i.Output("capsh", "--print"), "no-new-privs=1")
	require.NotZero(i, i.Run(Process{Args: []string{"setcap", "cap_net_raw=ep", "/opt/greet/bin/bye"}, User: "65532"}).Code)
}

// sameFile checks that paths are hardlinks of one file.
func sameFile(i *Instance, paths ...string) {
	var first os.FileInfo
	for _, path := range paths {
		info, err := os.Lstat(filepath.Join(i.Root, path))
		require.NoError(i, err)
		if first == nil {
			first = info
		}
		require.True(i, os.SameFile(first, info), "%s and %s are two files", paths[0], path)
	}
}
