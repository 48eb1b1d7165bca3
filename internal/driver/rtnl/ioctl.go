package rtnl

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"peerless/internal/model"
)

// ioctls asks the small questions that need no netlink message; each takes about a microsecond.
type ioctls struct{ fd int }

func openIoctls() (*ioctls, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open ioctl socket: %w", err)
	}
	return &ioctls{fd: fd}, nil
}

func (c *ioctls) close() error { return unix.Close(c.fd) }

// namespace identifies the network namespace for as long as the machine runs; inode numbers are used again, cookies never.
func (c *ioctls) namespace() (uint64, error) {
	return unix.GetsockoptUint64(c.fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
}

func (c *ioctls) index(port model.Port) (int, error) {
	req, err := unix.NewIfreq(string(port))
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(c.fd, unix.SIOCGIFINDEX, req); err != nil {
		return 0, err
	}
	return int(req.Uint32()), nil
}

func (c *ioctls) name(index int) (model.Port, error) {
	req := new(unix.Ifreq)
	req.SetUint32(uint32(index))
	if err := unix.IoctlIfreq(c.fd, unix.SIOCGIFNAME, req); err != nil {
		return "", err
	}
	return model.Port(req.Name()), nil
}

// adminUp reads the port's flags, without the lock that every netlink request about links waits for.
func (c *ioctls) adminUp(port model.Port) (bool, error) {
	req, err := unix.NewIfreq(string(port))
	if err != nil {
		return false, err
	}
	if err := unix.IoctlIfreq(c.fd, unix.SIOCGIFFLAGS, req); err != nil {
		return false, err
	}
	return req.Uint16()&unix.IFF_UP != 0, nil
}

// carrier reads the link as ETHTOOL_GLINK does, which makes the kernel deliver a carrier event that linkwatch is holding
// back for up to a second. The ordinary RTM_NEWLINK follows.
func (c *ioctls) carrier(port model.Port) (bool, error) {
	value := struct{ cmd, data uint32 }{cmd: unix.ETHTOOL_GLINK}
	req := struct { // struct ifreq with its ifr_data member
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(req.name[:unix.IFNAMSIZ-1], port)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(c.fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return false, errno
	}
	return value.data != 0, nil
}
