package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"peerless/internal/lab/netns"
	"peerless/internal/lab/report"
	"peerless/internal/lab/topology"
)

// askTimeout bounds one question to a daemon.
const askTimeout = 2 * time.Second

// event is what the lab reads of a daemon's journal.
type event struct {
	MonoNs int64 `json:"mono_ns"`
	report.Entry
	Text string `json:"text"`
}

// asker asks daemons over their unix sockets.
type asker struct {
	site    site
	top     topology.Topology
	net     *netns.Net // for gateways without a daemon
	mu      sync.Mutex
	clients map[string]*http.Client
}

func newAsker(s site, top topology.Topology, net *netns.Net) *asker {
	return &asker{site: s, top: top, net: net, clients: map[string]*http.Client{}}
}

func (a *asker) client(node string) *http.Client {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.clients[node]
	if c == nil {
		path := a.site.socket(a.top.Name, node)
		c = &http.Client{Timeout: askTimeout, Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", path)
			},
		}}
		a.clients[node] = c
	}
	return c
}

// get reads what is below /v1/.
func (a *asker) get(ctx context.Context, node, what string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+strings.ToLower(node)+"/v1/"+what, nil)
	if err != nil {
		return fmt.Errorf("ask %s for %s: %w", node, what, err)
	}
	resp, err := a.client(node).Do(req)
	if err != nil {
		return fmt.Errorf("ask %s for %s: %w", node, what, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		return fmt.Errorf("ask %s for %s: %s: %s", node, what, resp.Status, strings.TrimSpace(string(text)))
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("ask %s for %s: %w", node, what, err)
	}
	return nil
}

// states asks every daemon for what it shows, and the kernel of every gateway that has none. The errors are by node.
func (a *asker) states(ctx context.Context) (map[string]report.State, map[string]error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	out, errs := map[string]report.State{}, map[string]error{}
	for _, n := range a.top.Nodes {
		if n.Config == "" && n.Engine == nil {
			continue
		}
		wg.Go(func() {
			s, err := a.state(ctx, n)
			mu.Lock()
			defer mu.Unlock()
			out[n.Name] = s
			if err != nil {
				errs[n.Name] = err
			}
		})
	}
	wg.Wait()
	return out, errs
}

func (a *asker) state(ctx context.Context, n topology.Node) (s report.State, err error) {
	if n.Config == "" {
		return observed(a.net, a.top, n.Name)
	}
	wants := map[string]any{"ports": &s.Ports}
	if n.Role != topology.Server {
		wants["hosts"], wants["mapping"], wants["sessions"] = &s.Hosts, &s.Mapping, &s.Sessions
	}
	if n.Role == topology.Leaf {
		wants["linkage"] = &s.Linkage
	}
	for what, into := range wants {
		if err := a.get(ctx, n.Name, what, into); err != nil {
			return s, err
		}
	}
	return s, nil
}

// events reads what a node journalled since an instant.
func (a *asker) events(ctx context.Context, node string, since int64) ([]event, error) {
	var out []event
	err := a.get(ctx, node, "events?since_ns="+strconv.FormatInt(since, 10), &out)
	return out, err
}
