// Package engine talks to a Docker engine: it dials the BuildKit inside the
// engine and loads images into the engine's store.
package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"

	bkclient "github.com/moby/buildkit/client"
	dockerclient "github.com/moby/moby/client"
)

// Engine is a connection to a Docker engine.
type Engine struct {
	api *dockerclient.Client
}

// Connect reaches the engine at host, or the one that DOCKER_HOST and its
// companions name when host is empty, and makes sure that it answers.
func Connect(ctx context.Context, host string) (*Engine, error) {
	opts := []dockerclient.Opt{dockerclient.FromEnv}
	if host != "" {
		opts = append(opts, dockerclient.WithHost(host))
	}
	api, err := dockerclient.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to the Docker engine at %s: %w", orDefault(host), err)
	}
	if _, err := api.Ping(ctx, dockerclient.PingOptions{}); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to the Docker engine at %s: %w", orDefault(host), err), api.Close())
	}
	return &Engine{api: api}, nil
}

func orDefault(host string) string {
	if host != "" {
		return host
	}
	if host = os.Getenv(dockerclient.EnvOverrideHost); host != "" {
		return host
	}
	return dockerclient.DefaultDockerHost
}

// Host is the address of the engine.
func (e *Engine) Host() string { return e.api.DaemonHost() }

// Close closes the connection.
func (e *Engine) Close() error { return e.api.Close() }

// BuildKit connects to the BuildKit inside the engine.
func (e *Engine) BuildKit(ctx context.Context) (*bkclient.Client, error) {
	return bkclient.New(ctx, "",
		bkclient.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			// gRPC ends the context of a dial once the connection stands, but
			// the hijacked connection must live as long as the client.
			return e.api.DialHijack(ctx, "/grpc", "h2c", nil)
		}),
		bkclient.WithSessionDialer(func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
			return e.api.DialHijack(ctx, "/session", proto, meta)
		}))
}

// ContainerdStore says whether the engine keeps images in containerd. Only then
// does it take OCI archives with attestations, and does its BuildKit read and
// write OCI layouts.
func (e *Engine) ContainerdStore(ctx context.Context) (bool, error) {
	res, err := e.api.Info(ctx, dockerclient.InfoOptions{})
	if err != nil {
		return false, fmt.Errorf("ask the Docker engine at %s about its image store: %w", e.Host(), err)
	}
	return slices.Contains(res.Info.DriverStatus, [2]string{"driver-type", "io.containerd.snapshotter.v1"}), nil
}

// Load puts the image of an archive, in Docker's or in OCI form, into the
// engine's store. It returns the engine's own words.
func (e *Engine) Load(ctx context.Context, archive io.Reader) (string, error) {
	resp, err := e.api.ImageLoad(ctx, archive)
	if err != nil {
		return "", fmt.Errorf("load the image into the Docker engine at %s: %w", e.Host(), err)
	}
	defer resp.Close()
	return loadMessages(resp, e.Host())
}

// maxLoadMessages bounds what is read of the engine's answer, in bytes.
const maxLoadMessages = 4 << 20

// loadMessages reads the JSON stream with which the engine answers
// (Docker Engine API, POST /images/load).
func loadMessages(r io.Reader, host string) (string, error) {
	dec := json.NewDecoder(bufio.NewReader(io.LimitReader(r, maxLoadMessages)))
	var said strings.Builder
	for {
		var msg struct {
			Stream string `json:"stream"`
			Error  string `json:"error"`
		}
		err := dec.Decode(&msg)
		if errors.Is(err, io.EOF) {
			return strings.TrimSpace(said.String()), nil
		}
		if err != nil {
			return "", fmt.Errorf("read the answer of the Docker engine at %s: %w", host, err)
		}
		if msg.Error != "" {
			return "", fmt.Errorf("load the image into the Docker engine at %s: %s", host, msg.Error)
		}
		said.WriteString(msg.Stream)
	}
}
