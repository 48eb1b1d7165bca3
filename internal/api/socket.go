package api

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"
)

// ErrInUse says that a live daemon answers on the socket.
var ErrInUse = errors.New("socket in use: another daemon answers there; stop it, or set api.socket to another path")

const (
	dialTimeout = time.Second
	dirMode     = 0o755
)

// Listen opens the socket with its mode and group. The socket file of a dead daemon is replaced; that of a live one is an error.
func Listen(opts Options) (*Server, error) {
	if err := os.MkdirAll(filepath.Dir(opts.Socket), dirMode); err != nil {
		return nil, fmt.Errorf("open api socket %s: %w", opts.Socket, err)
	}
	if err := claimable(opts.Socket); err != nil {
		return nil, fmt.Errorf("open api socket %s: %w", opts.Socket, err)
	}
	l, identity, err := bind(opts)
	if err != nil {
		return nil, fmt.Errorf("open api socket %s: %w", opts.Socket, err)
	}
	return &Server{
		opts: opts, listener: l, identity: identity,
		http: &http.Server{
			Handler: opts.handler(), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: headerBytesMax,
		},
	}, nil
}

// claimable reports what stands in the way of a socket at path.
func claimable(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("there is a file that is no socket; remove it, or set api.socket to another path")
	}
	conn, err := net.DialTimeout("unix", path, dialTimeout)
	if err != nil {
		return nil // nobody listens: the file of a dead daemon
	}
	_ = conn.Close()
	return ErrInUse
}

// made tells the sockets of one process apart while they bear their passing names.
var made atomic.Uint32

// bind makes the socket under a passing name, gives it its mode and group, and only then its real name: at no moment can
// anybody else connect, and a dead daemon's file is replaced in one step.
func bind(opts Options) (*net.UnixListener, os.FileInfo, error) {
	passing := filepath.Join(filepath.Dir(opts.Socket), fmt.Sprintf(".%d.%d", os.Getpid(), made.Add(1)))
	_ = os.Remove(passing)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: passing, Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	l.SetUnlinkOnClose(false)
	identity, err := place(opts, passing)
	if err != nil {
		_ = l.Close()
		_ = os.Remove(passing)
		return nil, nil, err
	}
	return l, identity, nil
}

func place(opts Options, passing string) (os.FileInfo, error) {
	if opts.Group != "" {
		gid, err := groupID(opts.Group)
		if err != nil {
			return nil, err
		}
		if err := os.Chown(passing, -1, gid); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(passing, opts.Mode.Perm()); err != nil {
		return nil, err
	}
	identity, err := os.Lstat(passing)
	if err != nil {
		return nil, err
	}
	return identity, os.Rename(passing, opts.Socket)
}

// groupID takes a name or a number.
func groupID(group string) (int, error) {
	if n, err := strconv.Atoi(group); err == nil {
		return n, nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("group %q is not known on this machine; create it, or correct api.group", group)
	}
	return strconv.Atoi(g.Gid)
}

// remove takes the socket file away if it is still ours.
func (s *Server) remove() {
	if now, err := os.Lstat(s.opts.Socket); err == nil && os.SameFile(now, s.identity) {
		_ = os.Remove(s.opts.Socket)
	}
}
