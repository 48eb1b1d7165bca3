package netns

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"peerless/internal/lab/topology"
)

// devices makes a node's bonds and VLAN devices. Its links are there, and down.
func (n *Net) devices(node topology.Node) error {
	for _, b := range node.Bonds {
		if err := n.bond(node.Name, b); err != nil {
			return fmt.Errorf("bond %s: %w", b.Name, err)
		}
	}
	for _, v := range node.VLANs {
		if err := n.vlan(node.Name, v); err != nil {
			return fmt.Errorf("VLAN %s: %w", v.Name, err)
		}
	}
	return nil
}

func (n *Net) bond(node string, b topology.Bond) error {
	h := n.handles[node]
	attrs := netlink.NewLinkAttrs()
	attrs.Name = b.Name
	if b.MAC != "" {
		mac, err := net.ParseMAC(b.MAC)
		if err != nil {
			return err
		}
		attrs.HardwareAddr = mac
	}
	bond := netlink.NewLinkBond(attrs)
	if err := h.LinkAdd(bond); err != nil {
		return fmt.Errorf("%w (does this kernel have bonding?)", err)
	}
	err := doWithSys(n.nameOf(node), func() error {
		for _, s := range b.Settings {
			path := filepath.Join("/sys/class/net", b.Name, "bonding", s.Name)
			if err := os.WriteFile(path, []byte(s.Value), 0); err != nil {
				return fmt.Errorf("set %s to %s: %w", s.Name, s.Value, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range b.Members {
		m, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("member %s: %w", name, err)
		}
		if err := h.LinkSetMaster(m, bond); err != nil {
			return fmt.Errorf("member %s: %w", name, err)
		}
	}
	return nil
}

// Choose makes a member the active link of a node's bond; done is false as long as the bond refuses it, because it takes the member's
// link for down. What is chosen already is not touched.
func (n *Net) Choose(node, bond, member string) (done bool, err error) {
	h := n.handles[node]
	m, err := h.LinkByName(member)
	if err != nil {
		return false, fmt.Errorf("choose %s of %s: %w", member, node, err)
	}
	l, err := h.LinkByName(bond)
	if err != nil {
		return false, fmt.Errorf("choose %s of %s: bond %s: %w", member, node, bond, err)
	}
	b, ok := l.(*netlink.Bond)
	if !ok {
		return false, fmt.Errorf("choose %s of %s: %s is a %s, no bond", member, node, bond, l.Type())
	}
	if b.ActiveSlave == m.Attrs().Index {
		return true, nil
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bond // without its index: with it, the name is a new one
	wanted := netlink.NewLinkBond(attrs)
	wanted.ActiveSlave = m.Attrs().Index
	switch err := h.LinkModify(wanted); {
	case errors.Is(err, unix.EINVAL):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("choose %s of %s: %w", member, node, err)
	}
	return true, nil
}

func (n *Net) vlan(node string, v topology.VLAN) error {
	h := n.handles[node]
	on, err := h.LinkByName(v.On)
	if err != nil {
		return fmt.Errorf("port %s: %w", v.On, err)
	}
	if err := h.LinkSetUp(on); err != nil { // else the kernel refuses to set the device up
		return fmt.Errorf("port %s: %w", v.On, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = v.Name, on.Attrs().Index
	if err := h.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: v.ID, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}); err != nil {
		return fmt.Errorf("%w (does this kernel have 802.1Q?)", err)
	}
	return nil
}

// doWithSys is Do with a /sys that shows the namespace.
func doWithSys(name string, f func() error) error {
	return Do(name, func() error {
		ownSys()
		return f()
	})
}
