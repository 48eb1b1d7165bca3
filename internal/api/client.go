package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"peerless/internal/engine"
)

// Client asks one daemon.
type Client struct {
	socket string
	http   *http.Client
}

// answerMax bounds an answer: 100,000 hosts are about 30 MB.
const answerMax = 1 << 30

// NewClient makes a client of the daemon that listens on the socket. It does not connect yet.
func NewClient(socket string) *Client {
	dialer := net.Dialer{Timeout: dialTimeout}
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
		// One question a process: nothing is to be kept open.
		DisableKeepAlives: true,
	}}}
}

// Get asks for a path such as "/v1/ports" and reads the JSON answer into v.
func (c *Client) Get(ctx context.Context, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return c.read(ctx, http.MethodGet, path, v)
}

// Order gives an order such as "/v1/undrain" and reads what became of it into v.
func (c *Client) Order(ctx context.Context, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return c.read(ctx, http.MethodPost, path, v)
}

func (c *Client) read(ctx context.Context, method, path string, v any) error {
	resp, err := c.ask(ctx, method, path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, answerMax)).Decode(v); err != nil {
		return fmt.Errorf("read answer of %s: %w", c.socket, err)
	}
	return nil
}

// Follow calls each with every journal entry since the instant and from then on, until the context or the daemon ends.
func (c *Client) Follow(ctx context.Context, sinceNs int64, each func(engine.Entry) error) error {
	resp, err := c.ask(ctx, http.MethodGet, fmt.Sprintf("/v1/events?since_ns=%d&follow=1", sinceNs))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var e engine.Entry
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("read event of %s: %w", c.socket, err)
		}
		if err := each(e); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("follow events of %s: %w", c.socket, err)
	}
	return fmt.Errorf("follow events of %s: the daemon stopped", c.socket)
}

func (c *Client) ask(ctx context.Context, method, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://peerless"+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", c.socket, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask daemon on %s: %w", c.socket, reason(err))
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var p problem
	if json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&p) != nil || p.Error == "" {
		p.Error = resp.Status
	}
	return nil, errors.New(p.Error)
}

// reason puts the usual causes in an operator's words.
func reason(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("no such socket; is the daemon running?")
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("nobody listens there: the daemon has died; start it again")
	case errors.Is(err, fs.ErrPermission):
		return errors.New("permission denied; run as root or join the socket's group")
	}
	return err
}
