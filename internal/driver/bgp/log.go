package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"peerless/internal/step"
)

// cause is why a session ended.
type cause struct {
	reason step.SessionReason
	detail string
}

// causes are gathered from GoBGP's log. Its peer events say no more than "graceful-restart" when the hold timer expired or
// a NOTIFICATION was received and graceful restart is on; its log says it all, and before the event is sent.
type causes struct {
	mu sync.Mutex
	of map[netip.Addr]cause
}

func (c *causes) set(peer netip.Addr, why cause) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of[peer] = why
}

func (c *causes) take(peer netip.Addr) (cause, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	why, ok := c.of[peer]
	delete(c.of, peer)
	return why, ok
}

// logHandler passes GoBGP's log on one level down, since what matters in it becomes events. On the way it gathers causes, and
// learns of a session that is about to be established: GoBGP's state machine goes on when this call returns.
type logHandler struct {
	slog.Handler
	causes *causes
	gate   *gate
	peer   netip.Addr // of a logger that GoBGP made for a neighbour
}

const levelDown = slog.LevelInfo - slog.LevelDebug

// stoppedTwice is an error that GoBGP logs at every orderly end: its Stop stops the speaker once more.
const stoppedTwice = "failed to stop BGP server"

func (h logHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || h.Handler.Enabled(ctx, level-levelDown)
}

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	if h.peer.IsValid() {
		h.gather(r)
	}
	r.Level -= levelDown
	if r.Message == stoppedTwice {
		return nil
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h logHandler) gather(r slog.Record) {
	switch r.Message {
	case "Peer Up":
		h.gate.open(h.peer)
	case "hold timer expired":
		h.causes.set(h.peer, cause{step.ReasonHoldTimer, r.Message})
	case "received notification":
		var code, subcode uint8
		var said string
		r.Attrs(func(a slog.Attr) bool {
			switch a.Key {
			case "Code":
				code = uint8(a.Value.Int64())
			case "Subcode":
				subcode = uint8(a.Value.Int64())
			case "Communicated-Reason":
				said = a.Value.String()
			}
			return true
		})
		h.causes.set(h.peer, notification(code, subcode, said))
	}
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		if a.Key == "Key" {
			h.peer, _ = netip.ParseAddr(a.Value.String())
		}
	}
	h.Handler = h.Handler.WithAttrs(attrs)
	return h
}

func (h logHandler) WithGroup(name string) slog.Handler {
	h.Handler = h.Handler.WithGroup(name)
	return h
}

// notification classifies a received NOTIFICATION: the Cease subcodes by which a neighbour says that it wants to be
// forgotten (RFC 4486, RFC 8538) are hard evidence, all others are soft.
func notification(code, subcode uint8, said string) cause {
	detail := fmt.Sprintf("received %s", packet.NewNotificationErrorCode(code, subcode))
	if said != "" {
		detail += fmt.Sprintf(" %q", said)
	}
	if code == packet.BGP_ERROR_CEASE {
		switch subcode {
		case packet.BGP_ERROR_SUB_ADMINISTRATIVE_SHUTDOWN, packet.BGP_ERROR_SUB_PEER_DECONFIGURED, packet.BGP_ERROR_SUB_HARD_RESET:
			return cause{step.ReasonCeaseDown, detail}
		}
	}
	return cause{step.ReasonCeaseOther, detail}
}

// causeOf classifies what GoBGP's peer event says, for want of anything better.
func causeOf(s apiutil.PeerState) cause {
	switch s.DisconnectReason {
	case api.PeerState_DISCONNECT_REASON_ADMIN_DOWN, api.PeerState_DISCONNECT_REASON_NOTIFICATION_SENT,
		api.PeerState_DISCONNECT_REASON_INVALID_MSG, api.PeerState_DISCONNECT_REASON_DECONFIGURED,
		api.PeerState_DISCONNECT_REASON_BAD_PEER_AS:
		return cause{step.ReasonOurs, s.DisconnectMessage}
	case api.PeerState_DISCONNECT_REASON_HOLD_TIMER_EXPIRED:
		return cause{step.ReasonHoldTimer, s.DisconnectMessage}
	case api.PeerState_DISCONNECT_REASON_NOTIFICATION_RECEIVED:
		return cause{step.ReasonCeaseOther, s.DisconnectMessage}
	case api.PeerState_DISCONNECT_REASON_HARD_RESET:
		return cause{step.ReasonCeaseDown, s.DisconnectMessage}
	default: // reading or writing failed
		return cause{step.ReasonReset, "connection closed without a NOTIFICATION"}
	}
}
