package builder

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	bkclient "github.com/moby/buildkit/client"
	_ "github.com/moby/buildkit/client/connhelper/dockercontainer"  // docker-container://
	_ "github.com/moby/buildkit/client/connhelper/kubepod"          // kube-pod://
	_ "github.com/moby/buildkit/client/connhelper/nerdctlcontainer" // nerdctl-container://
	_ "github.com/moby/buildkit/client/connhelper/podmancontainer"  // podman-container://
	_ "github.com/moby/buildkit/client/connhelper/ssh"              // ssh://
	"github.com/temper-images/temper/client/daemon"
	"github.com/temper-images/temper/client/engine"
)

// TLS names the files for a connection by tcp. All are PEM.
type TLS struct {
	// CACert verifies the server. Without it the connection is not encrypted,
	// unless Cert and Key are given.
	CACert string
	// Cert and Key show the server who is calling.
	Cert, Key string
	// ServerName is the name in the server's certificate. Empty means the host
	// of the address.
	ServerName string
}

// TLSFromDir finds the three files in dir by the names that buildctl --tlsdir
// knows: ca.pem, cert.pem, key.pem, or ca.crt, tls.crt, tls.key.
func TLSFromDir(dir string) (TLS, error) {
	var t TLS
	for _, f := range []struct {
		path  *string
		names [2]string
	}{
		{&t.CACert, [2]string{"ca.pem", "ca.crt"}},
		{&t.Cert, [2]string{"cert.pem", "tls.crt"}},
		{&t.Key, [2]string{"key.pem", "tls.key"}},
	} {
		for _, name := range f.names {
			path := filepath.Join(dir, name)
			if _, err := os.Stat(path); err == nil {
				*f.path = path
				break
			}
		}
		if *f.path == "" {
			return TLS{}, fmt.Errorf("TLS directory %s has neither %s nor %s", dir, f.names[0], f.names[1])
		}
	}
	return t, nil
}

func (t TLS) clientOpts(u *url.URL) []bkclient.ClientOpt {
	var opts []bkclient.ClientOpt
	if t.CACert != "" {
		name := t.ServerName
		if name == "" {
			name = u.Hostname()
		}
		opts = append(opts, bkclient.WithServerConfig(name, t.CACert))
	}
	if t.Cert != "" || t.Key != "" {
		opts = append(opts, bkclient.WithCredentials(t.Cert, t.Key))
	}
	return opts
}

// schemes are the kinds of address that Options.Address takes.
var schemes = []string{"unix", "tcp", "docker-container", "kube-pod", "podman-container", "nerdctl-container", "ssh"}

func dialNamed(ctx context.Context, address string, tls TLS) (*Builder, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	known := false
	for _, s := range schemes {
		known = known || s == u.Scheme
	}
	if !known {
		return nil, fmt.Errorf("an address begins with one of %s://", strings.Join(schemes, "://, "))
	}
	if tls != (TLS{}) && u.Scheme != "tcp" {
		return nil, fmt.Errorf("TLS is for tcp:// addresses, not for %s://", u.Scheme)
	}
	c, err := bkclient.New(ctx, address, tls.clientOpts(u)...)
	if err != nil {
		return nil, err
	}
	return &Builder{Client: c}, nil
}

func dialSocket(ctx context.Context, path string) (*Builder, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, errors.New("there is no such socket")
	}
	c, err := bkclient.New(ctx, "unix://"+path)
	if err != nil {
		return nil, err
	}
	return &Builder{Client: c}, nil
}

// dockerSocket is where the Docker engine listens unless DOCKER_HOST says
// otherwise.
const dockerSocket = "/var/run/docker.sock"

func (o Options) dockerHost() string {
	if o.DockerHost != "" {
		return o.DockerHost
	}
	if host := os.Getenv("DOCKER_HOST"); host != "" {
		return host
	}
	return "unix://" + dockerSocket
}

func dialDocker(ctx context.Context, host string) (*Builder, error) {
	if path, ok := strings.CutPrefix(host, "unix://"); ok {
		if _, err := os.Stat(path); err != nil {
			return nil, errors.New("there is no such socket")
		}
	}
	e, err := engine.Connect(ctx, host)
	if err != nil {
		return nil, err
	}
	c, err := e.BuildKit(ctx)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return &Builder{Client: c, Engine: e}, nil
}

// usable refuses the BuildKit of an engine that can neither take the frontend
// from an OCI layout nor write one.
func (b *Builder) usable(ctx context.Context) error {
	if b.Engine == nil {
		return nil
	}
	ok, err := b.Engine.ContainerdStore(ctx)
	if err != nil {
		return err
	}
	if !ok {
		return errors.New("the engine's image store cannot hold OCI layouts; turn on the containerd image store (daemon.json: \"features\": {\"containerd-snapshotter\": true})")
	}
	return nil
}

func startOwn(ctx context.Context, cfg daemon.Config) (*Builder, error) {
	lease, err := daemon.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	c, err := bkclient.New(ctx, lease.Address())
	if err != nil {
		return nil, errors.Join(err, lease.Release(ctx))
	}
	return &Builder{Client: c, lease: lease}, nil
}
