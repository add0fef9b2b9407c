package corpus

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/temper-images/temper/integration/container"
)

func init() {
	register(App{Name: "sshd", Bases: []string{"debian:bookworm"}, Works: sshdWorks, Others: sshdOthers})
}

// sshdLogin logs in as the server's own user, or says why that failed.
func sshdLogin(i *Instance, auth ssh.AuthMethod) (*ssh.Client, error) {
	conn := i.Dial("tcp", "127.0.0.1:2222")
	c, channels, requests, err := ssh.NewClientConn(conn, "127.0.0.1:2222", &ssh.ClientConfig{
		User: "deploy", Auth: []ssh.AuthMethod{auth},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), // the server has just made its key
	})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return ssh.NewClient(c, channels, requests), nil
}

// answers is keyboard-interactive authentication, as PAM asks.
func answers(password string) ssh.AuthMethod {
	return ssh.KeyboardInteractive(func(_, _ string, questions []string, _ []bool) ([]string, error) {
		all := make([]string, len(questions))
		for n := range all {
			all[n] = password
		}
		return all, nil
	})
}

// sshdRun runs a command in a session of its own.
func sshdRun(i *Instance, c *ssh.Client, stdin, command string) string {
	s, err := c.NewSession()
	require.NoError(i, err)
	defer s.Close()
	s.Stdin = strings.NewReader(stdin)
	var out, words bytes.Buffer
	s.Stdout, s.Stderr = &out, &words
	require.NoError(i, s.Run(command), "%s: %s", command, words.String())
	return out.String()
}

// release is an archive with one file.
func release(i *Instance) string {
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	tw := tar.NewWriter(zw)
	require.NoError(i, tw.WriteHeader(&tar.Header{Name: "index.html", Mode: 0o644, Size: 5}))
	_, err := tw.Write([]byte("page\n"))
	require.NoError(i, err)
	require.NoError(i, tw.Close())
	require.NoError(i, zw.Close())
	return buf.String()
}

func sshdWorks(i *Instance) {
	i.Start(Process{})
	c, err := sshdLogin(i, ssh.Password("correct-horse"))
	require.NoError(i, err)
	require.Equal(i, "released 1.0: 1 files\n", sshdRun(i, c, release(i), "release 1.0"))
	require.NoError(i, c.Close())
	dt, err := os.ReadFile(filepath.Join(i.Root, "srv/releases/1.0/index.html"))
	require.NoError(i, err)
	require.Equal(i, "page\n", string(dt))
	_, err = sshdLogin(i, ssh.Password("wrong"))
	require.Error(i, err)
}

// sshdOthers: questions and answers, a terminal with its message of the day, keys,
// sftp and scp, forwarding, limits, modules of PAM that are configured only now,
// and who is refused.
func sshdOthers(i *Instance) {
	i.Start(Process{})
	c, err := sshdLogin(i, answers("correct-horse"))
	require.NoError(i, err)
	require.Equal(i, "/home/deploy 0027\n", sshdRun(i, c, "", `echo "$HOME $(umask)"`))
	require.Equal(i, "5\n", sshdRun(i, c, "", "exec bash -c 'a=(1 2); echo $((a[1]+3))'"))

	s, err := c.NewSession()
	require.NoError(i, err)
	require.NoError(i, s.RequestPty("xterm", 24, 80, ssh.TerminalModes{}))
	require.NoError(i, s.Setenv("LANG", "C.UTF-8"))
	s.Stdin = strings.NewReader("echo \"<$LANG $TERM $BASH_VERSION>\"; exit\n")
	var out bytes.Buffer
	s.Stdout = &out
	require.NoError(i, s.Shell())
	require.NoError(i, s.Wait(), "%s", out.String())
	require.Contains(i, out.String(), "Releases only. Everything is logged.")
	require.Contains(i, out.String(), "<C.UTF-8 xterm 5.2")

	// The client's own programs, with a key.
	i.ExecOutput("ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", "/home/deploy/id")
	key, err := os.ReadFile(filepath.Join(i.Root, "home/deploy/id.pub"))
	require.NoError(i, err)
	sshdRun(i, c, string(key), "mkdir -p .ssh && chmod 700 .ssh && cat >.ssh/authorized_keys")
	options := []string{"-i", "/home/deploy/id", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"}
	require.Equal(i, "by key\n", i.ExecOutput(append(append([]string{"ssh", "-p", "2222"}, options...), "localhost", "echo by key")...))
	r := i.Exec(Process{Args: append(append([]string{"sftp", "-P", "2222", "-b", "-"}, options...), "localhost"), Stdin: "put /etc/motd up.txt\nrename up.txt moved.txt\nls -l moved.txt\n"})
	require.Zero(i, r.Code, "%s%s", r.Stdout, r.Stderr)
	require.Contains(i, r.Stdout, "moved.txt")
	i.ExecOutput(append(append([]string{"scp", "-P", "2222"}, options...), "localhost:moved.txt", "/tmp/back.txt")...)
	i.ExecOutput(append(append([]string{"scp", "-O", "-P", "2222"}, options...), "/etc/motd", "localhost:old-protocol.txt")...)
	require.Contains(i, i.ExecOutput("ssh-keyscan", "-p", "2222", "localhost"), "ssh-ed25519")
	require.Contains(i, i.ExecOutput("ssh-agent", "ssh-add", "/home/deploy/id"), "")

	forwarded, err := c.Dial("tcp", "127.0.0.1:2222")
	require.NoError(i, err)
	hello := make([]byte, 7)
	_, err = forwarded.Read(hello)
	require.NoError(i, err)
	require.Equal(i, "SSH-2.0", string(hello))
	require.NoError(i, forwarded.Close())
	require.NoError(i, c.Close())
	i.Stop()

	pam := "auth required pam_pwdfile.so pwdfile=/etc/ssh/passwd\naccount required pam_time.so\naccount required pam_succeed_if.so quiet uid >= 1000\n" +
		"session optional pam_echo.so file=/etc/motd\nsession required pam_env.so envfile=/pam-environment\nsession required pam_limits.so\nsession optional pam_lastlog.so\nsession optional pam_mail.so\n"
	mounts := []container.Mount{
		ReadOnly(i.File("sshd", pam), "/etc/pam.d/sshd"),
		ReadOnly(i.File("limits.conf", "* hard nofile 333\n"), "/etc/security/limits.conf"),
		ReadOnly(i.File("pam-environment", "COLOUR=blue\n"), "/pam-environment"),
	}
	i.Start(Process{Mounts: mounts})
	c, err = sshdLogin(i, ssh.Password("correct-horse"))
	require.NoError(i, err)
	require.Equal(i, "blue 333\n", sshdRun(i, c, "", "echo $COLOUR $(ulimit -n)"))
	require.NoError(i, c.Close())
	i.Stop()

	i.Start(Process{Mounts: []container.Mount{ReadOnly(i.File("access.conf", "-:ALL:ALL\n"), "/etc/security/access.conf")}})
	_, err = sshdLogin(i, ssh.Password("correct-horse"))
	require.Error(i, err)
	require.Contains(i, i.Stop(), "Access denied")
}
