package step

import (
	"net/netip"

	"peerless/internal/model"
)

// View is a machine's state as `peerless show` prints it and the API serves it. A role fills what it has.
type View struct {
	Role     string       `json:"role"`
	Name     string       `json:"name"`
	Ports    []PortRow    `json:"ports"`
	Hosts    []HostRow    `json:"hosts"`
	Linkage  []LinkageRow `json:"linkage"`
	Mapping  []MappingRow `json:"mapping"`
	Sessions []SessionRow `json:"sessions"`
	Drain    *Drain       `json:"drain,omitempty"` // nil: the role cannot be drained
}

// PortRow is one configured port.
type PortRow struct {
	Port       model.Port         `json:"port"`
	Use        string             `json:"use"`   // uplink, downlink, primary, backup, guest
	State      string             `json:"state"` // up, down, closed, missing, …
	Admin      bool               `json:"admin_up"`
	Carrier    bool               `json:"carrier"`
	Active     bool               `json:"active"`              // server: the link in use; leaf: open and forwarding
	ClosedBy   string             `json:"closed_by,omitempty"` // "peerless" or "operator"
	Attachment model.AttachmentID `json:"attachment,omitempty"`
	ServerPort string             `json:"server_port,omitempty"`
	Role       string             `json:"role,omitempty"`
	Hosts      int                `json:"hosts"`
	Penalty    int                `json:"penalty,omitempty"`  // of losing its link, 1000 each time
	ReuseMs    int64              `json:"reuse_ms,omitempty"` // its link is damped for so long
	Why        string             `json:"why"`
}

// Drain is planned maintenance: how far it is, and what it does to whom.
type Drain struct {
	State   string       `json:"state"` // serving, draining, stuck, drained
	Why     string       `json:"why"`
	SinceMs int64        `json:"since_ms"`
	Refused string       `json:"refused,omitempty"` // why the newest order was not taken
	Ports   []DrainedRow `json:"ports"`
}

// DrainedRow is what a drain does, or would do, to one downlink and to the hosts behind it.
type DrainedRow struct {
	Port       model.Port   `json:"port"`
	ServerPort string       `json:"server_port,omitempty"`
	Open       bool         `json:"open"`
	Hosts      []netip.Addr `json:"hosts"`
	Fate       string       `json:"fate"` // none, moves, cut (moves when its port closes), dies, stays
	Why        string       `json:"why"`
}

// HostRow is one known host.
type HostRow struct {
	Addr       netip.Addr         `json:"addr"`
	MAC        string             `json:"mac,omitempty"`
	Port       model.Port         `json:"port,omitempty"`
	Leaf       string             `json:"leaf,omitempty"`
	Attachment model.AttachmentID `json:"attachment,omitempty"`
	ServerPort string             `json:"server_port,omitempty"`
	Role       string             `json:"role,omitempty"`
	State      string             `json:"state"` // local, probing, remembered, static, …
	Advertised bool               `json:"advertised"`
	Stamp      uint64             `json:"stamp,omitempty"`
	Learned    string             `json:"learned,omitempty"` // arp, data, kernel, static, rarp, bgp
	AgeMs      int64              `json:"age_ms"`
	Why        string             `json:"why"`
}

// LinkageRow is one linkage group of a leaf.
type LinkageRow struct {
	Group       string       `json:"group"`
	State       string       `json:"state"` // open, closed, opening
	Uplinks     []model.Port `json:"uplinks"`
	UplinksUp   int          `json:"uplinks_up"`
	MinUplinks  int          `json:"min_uplinks"`
	Downlinks   []model.Port `json:"downlinks"`
	ClosedByUs  []model.Port `json:"closed_by_us"`
	OperatorOff []model.Port `json:"closed_by_operator"`
	Why         string       `json:"why"`
}

// MappingRow is one line of the port mapping: gateway port - leaf - leaf port - server port, with the two states that the
// source document keeps apart. On a leaf GatewayPort is empty and Uplink is its own view.
type MappingRow struct {
	GatewayPort model.Port         `json:"gateway_port,omitempty"`
	Leaf        string             `json:"leaf"`
	LeafPort    string             `json:"leaf_port"`
	Attachment  model.AttachmentID `json:"attachment"`
	ServerPort  string             `json:"server_port"`
	Role        string             `json:"role"`     // primary, backup
	Uplink      string             `json:"uplink"`   // up, down: gateway port - leaf
	Downlink    string             `json:"downlink"` // up, down, closed: leaf port - server port
	Active      bool               `json:"active"`   // hosts of the server are forwarded through it now
	Hosts       []netip.Addr       `json:"hosts"`    // hosts whose best path it is
	Why         string             `json:"why"`
}

// SessionRow is one routing neighbour.
type SessionRow struct {
	Peer     string     `json:"peer"`
	Name     string     `json:"name,omitempty"`
	AS       uint32     `json:"as,omitempty"`
	Port     model.Port `json:"port,omitempty"`
	State    string     `json:"state"` // up, down, stale
	Received int        `json:"received"`
	SinceMs  int64      `json:"since_ms"`
	Why      string     `json:"why"`
}
