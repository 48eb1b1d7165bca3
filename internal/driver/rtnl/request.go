package rtnl

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	chunkMax       = 128      // messages sent by one system call
	ackBufferBytes = 1 << 20  // holds the acknowledgements of a chunk with room to spare
	messageBytes   = 64 << 10 // the kernel fills dumps up to 32 kB; no event is larger
	ackWaitMax     = 2 * time.Second
	dumpTriesMax   = 10

	skipStats = 1 << 3 // RTEXT_FILTER_SKIP_STATS, which x/sys/unix lacks: counters make an answer slow and long
)

var errNoAck = errors.New("no acknowledgement from the kernel")

// requester is a socket for requests and dumps. It is safe for concurrent use.
type requester struct {
	mu   sync.Mutex
	conn *netlink.Conn
}

func dialRequester() (*requester, error) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Strict: true, MessageBufferSize: messageBytes})
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", explain(err))
	}
	if err := c.SetReadBuffer(ackBufferBytes); err != nil {
		return nil, errors.Join(fmt.Errorf("size netlink receive buffer: %w", explain(err)), c.Close())
	}
	return &requester{conn: c}, nil
}

// exchange sends the requests in order and gives each one's outcome. A request that fails does not stop those behind it.
func (r *requester) exchange(reqs []request) []error {
	errs := make([]error, len(reqs))
	for start := 0; start < len(reqs); start += chunkMax {
		end := min(start+chunkMax, len(reqs))
		r.chunk(reqs[start:end], errs[start:end])
	}
	for i, err := range errs {
		for _, already := range reqs[i].already {
			if errors.Is(err, already) {
				errs[i] = nil
			}
		}
	}
	return errs
}

// one is exchange for a single request.
func (r *requester) one(req request) error { return r.exchange([]request{req})[0] }

func (r *requester) chunk(reqs []request, errs []error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	msgs := make([]netlink.Message, len(reqs))
	last := uint32(len(reqs) - 1)
	for i := range reqs {
		msgs[i] = reqs[i].msg
		if uint32(i) != last {
			msgs[i].Header.Flags &^= netlink.Acknowledge // the kernel tells of errors anyway, and in order
		}
	}
	sent, err := r.conn.SendMessages(msgs)
	for told := false; err == nil && !told; {
		var i uint32
		var outcome error
		if i, outcome, err = r.ack(sent[0].Header.Sequence); err == nil && i <= last {
			errs[i] = outcome
			told = i == last
		}
	}
	if err == nil {
		return
	}
	for i := range errs { // of those without an answer nothing is known
		if errs[i] == nil {
			errs[i] = explain(err)
		}
	}
}

// ack receives one acknowledgement: its place after the first sequence number, and what the kernel said. Requests are
// executed before the send returns, so that the deadline matters only if the kernel lost the answer.
func (r *requester) ack(first uint32) (i uint32, outcome, err error) {
	if err := r.conn.SetReadDeadline(time.Now().Add(ackWaitMax)); err != nil {
		return 0, nil, err
	}
	replies, err := r.conn.Receive()
	var refused *netlink.OpError
	switch {
	case errors.As(err, &refused) && refused.Sequence != 0:
		return refused.Sequence - first, explain(err), nil
	case err != nil:
		return 0, nil, err
	case len(replies) == 0:
		return 0, nil, errNoAck
	}
	return replies[0].Header.Sequence - first, nil, nil
}

// get asks for one object.
func (r *requester) get(kind netlink.HeaderType, p payload) ([]netlink.Message, error) {
	return r.ask(kind, netlink.Request, p)
}

// dump asks for all objects that the payload does not filter out, again if they changed meanwhile: an absence must be a
// fact. When they never stop changing the last answer stands, and events correct it.
func (r *requester) dump(kind netlink.HeaderType, p payload) (msgs []netlink.Message, err error) {
	for range dumpTriesMax {
		if msgs, err = r.ask(kind, netlink.Request|netlink.Dump, p); err != nil || !interrupted(msgs) {
			break
		}
	}
	return msgs, err
}

func (r *requester) ask(kind netlink.HeaderType, flags netlink.HeaderFlags, p payload) ([]netlink.Message, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	msgs, err := r.conn.Execute(netlink.Message{Header: netlink.Header{Type: kind, Flags: flags}, Data: p})
	return msgs, explain(err)
}

func interrupted(msgs []netlink.Message) bool {
	for _, m := range msgs {
		if m.Header.Flags&netlink.DumpInterrupted != 0 {
			return true
		}
	}
	return false
}

// explain turns an error of the netlink library into the errno with the kernel's own text, and names the privilege that is
// missing.
func explain(err error) error {
	var op *netlink.OpError
	if errors.As(err, &op) && op.Err != nil {
		err = op.Err
		if op.Message != "" {
			err = fmt.Errorf("%w: %s", op.Err, op.Message)
		}
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w (needs CAP_NET_ADMIN)", err)
	}
	return err
}
