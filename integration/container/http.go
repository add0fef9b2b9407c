package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"
)

// maxBody bounds how much of an answer is read, in bytes.
const maxBody = 1 << 20

// Get asks the container for a URL of its own network, such as
// "http://127.0.0.1:8080/", and tries again while nothing listens there, until
// ctx ends.
func (c *Container) Get(ctx context.Context, url string) (status int, body string, err error) {
	transport := &http.Transport{DialContext: c.Dial, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	for {
		status, body, err = get(ctx, client, url)
		if err == nil || !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, errGone) {
			return status, body, err
		}
		select {
		case <-c.done:
			return 0, "", fmt.Errorf("get %s: the container ended (%s)\n%s", url, c.cmd.ProcessState, c.out.String())
		case <-ctx.Done():
			return 0, "", fmt.Errorf("get %s: %w (%w)", url, ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func get(ctx context.Context, client *http.Client, url string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	dt, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return 0, "", fmt.Errorf("read the answer of %s: %w", url, err)
	}
	return res.StatusCode, string(dt), nil
}
