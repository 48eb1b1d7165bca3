package rtnl

import (
	"errors"

	"golang.org/x/sys/unix"

	"peerless/internal/model"
)

// Eye looks at ports without a driver.
type Eye struct{ ioctl *ioctls }

// OpenEye opens an eye on the network namespace of the calling thread.
func OpenEye() (*Eye, error) {
	c, err := openIoctls()
	if err != nil {
		return nil, err
	}
	return &Eye{c}, nil
}

// Carrier reports whether a port is up and has carrier. A port that does not say is given the benefit of the doubt, one that does not
// exist is not.
func (e *Eye) Carrier(port model.Port) bool {
	up, err := e.ioctl.carrier(port)
	if err != nil {
		return !errors.Is(err, unix.ENODEV)
	}
	return up
}

// Close closes it.
func (e *Eye) Close() { _ = e.ioctl.close() }
