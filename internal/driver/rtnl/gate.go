package rtnl

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"peerless/internal/model"
)

const (
	protoDownBit   = 1 << 20 // our reason, above those that protodown_reasons.d hands out
	protoDownProbe = 1 << 31 // never set by anybody: clearing it only shows whether the driver has protodown
)

var errOperator = errors.New("closed by the operator")

// gates closes and opens ports, and knows which of them we closed. Law: a port that the operator closed is never opened by
// us, hence a port is recorded as ours before it is closed, and only if it is open.
type gates struct {
	wants, reads *requester
	ioctl        *ioctls
	log          *slog.Logger

	mu      sync.Mutex
	ledger  *ledger
	methods map[int]method // by interface index, once found out
}

// portAt is a port to close and the place of its outcome.
type portAt struct {
	port model.Port
	at   int
}

// shutting is a port that is being closed.
type shutting struct {
	portAt
	link
	method method
}

func openGates(path string, s stamp, c *ioctls, wants, reads *requester, log *slog.Logger) (*gates, error) {
	ledger, err := openLedger(path, s, log)
	return &gates{wants: wants, reads: reads, ioctl: c, log: log, ledger: ledger, methods: map[int]method{}}, err
}

// closePorts closes the ports and writes each one's outcome; nil means read back as closed. Everything that may take time comes
// before the state file, so that the closings follow it at once.
func (g *gates) closePorts(ports []portAt, errs []error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var todo []shutting
	for _, p := range ports {
		l, err := g.look(p.port)
		switch {
		case err != nil:
			errs[p.at] = fmt.Errorf("close port %s: %w", p.port, err)
		case l.down(): // already, by whomever; it does not become ours
		default:
			todo = append(todo, shutting{p, l, g.method(l)})
		}
	}
	if len(todo) == 0 {
		return
	}
	reqs := make([]request, len(todo))
	for i, s := range todo {
		reqs[i] = s.method.request(s.index, true)
		g.ledger.own(s.port, closure{Index: s.index, Method: s.method, At: time.Now()})
	}
	g.save()
	for i, err := range g.wants.exchange(reqs) {
		errs[todo[i].at] = g.verifyClosed(todo[i], err)
	}
}

// look reads what closing needs to know of a port. Where admin-down is known to be the means, its flags say it all, and reading them
// does not wait for the lock that closing itself will need.
func (g *gates) look(port model.Port) (link, error) {
	index, err := g.ioctl.index(port)
	if err != nil || g.methods[index] != adminDown {
		return readLink(g.reads, port)
	}
	up, err := g.ioctl.adminUp(port)
	if err != nil {
		return link{}, err
	}
	return link{name: port, index: index, adminUp: up}, nil
}

// prepare finds out beforehand by which means the ports can be closed, so that no closing has to.
func (g *gates) prepare(ports []model.Port) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range ports {
		if l, err := readLink(g.reads, p); err == nil { // one that is not there is looked at when it is closed
			g.method(l)
		}
	}
}

// verifyClosed reads the port back. The answer to the request is only an explanation.
func (g *gates) verifyClosed(s shutting, refused error) error {
	l, err := g.look(s.port)
	if err == nil && l.down() {
		return nil
	}
	if err == nil { // still open: not ours, and by the other means next time
		g.ledger.disown(s.port)
		g.save()
		g.methods[s.index] = adminDown
		if err = refused; err == nil {
			err = fmt.Errorf("still open after %s", s.method)
		}
	}
	return fmt.Errorf("close port %s: %w", s.port, err)
}

// openPort opens a port that we closed. A port that is open already needs nothing; any other is the operator's.
func (g *gates) openPort(port model.Port) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	l, err := readLink(g.reads, port)
	if err != nil {
		return fmt.Errorf("open port %s: %w", port, err)
	}
	ours, owned := g.ledger.of(port, l.index)
	if l.down() && !owned {
		return fmt.Errorf("open port %s: %w", port, errOperator)
	}
	var refused error
	if l.down() {
		refused = g.wants.one(ours.Method.request(l.index, false))
		if l, err = readLink(g.reads, port); err != nil {
			return fmt.Errorf("open port %s: %w", port, err)
		}
	}
	if ours.Method.holds(l) { // our own closing still stands
		return fmt.Errorf("open port %s: %w", port, errors.Join(refused, errors.New("still closed")))
	}
	g.ledger.disown(port)
	g.save()
	if l.down() {
		return fmt.Errorf("open port %s: %w", port, errOperator) // by the other means, while it was ours
	}
	return nil
}

// disown forgets that we closed the port.
func (g *gates) disown(port model.Port) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ledger.disown(port)
	g.save()
}

// sight corrects a report of a port by what we did since the kernel wrote it, and says whether it is we who closed the port. An
// event may be older than our own opening or closing: a port reported closed that we do not hold may be open by now, and a
// port of ours reported open was opened by the operator, and given up, only if the kernel still says so.
func (g *gates) sight(l link) (_ link, ours bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, owned := g.ledger.of(l.name, l.index)
	if owned == l.down() {
		return l, owned
	}
	now, err := readLink(g.reads, l.name)
	switch {
	case err != nil || now.index != l.index:
	case l.down() && !now.down():
		return now, false
	case owned && !now.down():
		g.log.Info("port was opened by the operator", "port", l.name)
		g.ledger.disown(l.name)
		g.save()
	}
	return l, false
}

// close gives the state file back.
func (g *gates) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ledger.file.close()
}

// save writes the ledger. A closing that cannot be recorded is still carried out: an open port to a dead end does harm now, a
// port left closed after a crash only asks for the operator.
func (g *gates) save() {
	if err := g.ledger.save(); err != nil {
		g.log.Error("closed ports are not recorded", "error", err)
	}
}

// method finds out, without changing anything, by which means the device can be closed. A macvlan takes protodown but goes on
// receiving, and its carrier returns with that of the device below: only admin-down closes it. Macvtap shares its code.
func (g *gates) method(l link) method {
	m, known := g.methods[l.index]
	if known {
		return m
	}
	m = adminDown
	if l.kind != "macvlan" && l.kind != "macvtap" &&
		g.wants.one(change(unix.RTM_SETLINK, protoDownReason(l.index, protoDownProbe, false))) == nil {
		m = protoDown
	}
	g.methods[l.index] = m
	return m
}

// method is how a port was closed, as the state file spells it.
type method string

const (
	adminDown method = "admin-down"
	protoDown method = "protodown"
)

func (m method) request(index int, closed bool) request {
	if m == protoDown {
		return encodeProtoDown(index, closed)
	}
	return encodeAdmin(index, !closed)
}

// holds reports whether the device is closed by this means. The zero method holds nothing.
func (m method) holds(l link) bool {
	return m == adminDown && !l.adminUp || m == protoDown && l.protoDown
}

// readLink asks the kernel for the port's present state, by name.
func readLink(r *requester, port model.Port) (link, error) {
	p := linkHeader(unix.AF_UNSPEC, 0, 0, 0)
	p.text(unix.IFLA_IFNAME, string(port))
	p.u32(unix.IFLA_EXT_MASK, skipStats)
	msgs, err := r.get(unix.RTM_GETLINK, p)
	if err != nil {
		return link{}, err
	}
	for _, m := range msgs {
		if l, ok := decodeLink(m.Data); ok {
			return l, nil
		}
	}
	return link{}, unix.ENODEV
}
