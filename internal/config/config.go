// Package config turns a peerless YAML file into the typed configuration of one role.
//
// It decides what a file may say: which keys exist for which role, what they default to, and which values cannot be meant.
// Unknown keys, duplicate keys and bad values are all fatal and reported together, each with file, line and column; only
// absence means a default. It never looks at the live system: whether a port exists is found out by `check` and the daemon.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// sizeMax bounds a config file: the largest sensible one is far below.
const sizeMax = 4 << 20

// The roles as the role key names them.
const (
	RoleLeaf    = "leaf"
	RoleGateway = "gateway"
	RoleServer  = "server"
)

// Roles lists the roles in the order of the documentation.
func Roles() []string { return []string{RoleLeaf, RoleGateway, RoleServer} }

// File is one parsed and checked config file. Exactly one of Leaf, Gateway and Server is set.
type File struct {
	Path    string
	Leaf    *Leaf
	Gateway *Gateway
	Server  *Server
}

// Common is the part that every role has.
func (f *File) Common() *Common {
	switch {
	case f.Leaf != nil:
		return &f.Leaf.Common
	case f.Gateway != nil:
		return &f.Gateway.Common
	default:
		return &f.Server.Common
	}
}

// Load reads, parses and checks a file. A file that says something wrong gives Problems.
func Load(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read config %s: %w", path, plain(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, sizeMax+1))
	if err != nil {
		return nil, fmt.Errorf("read config %s: %w", path, plain(err))
	}
	if len(data) > sizeMax {
		return nil, fmt.Errorf("read config %s: larger than %d bytes; this is no peerless config", path, sizeMax)
	}
	return Parse(path, data)
}

// plain strips the operation and path that os adds, since the caller names them.
func plain(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// Parse parses and checks the text of a config file; name stands for the file in messages. A text that says something
// wrong gives Problems.
func Parse(name string, data []byte) (*File, error) {
	d := newDecoder(name, data)
	root := d.root(data)
	if root == nil {
		return nil, d.failure()
	}
	d.role = d.findRole(root)
	if d.role == "" {
		return nil, d.failure()
	}
	f := &File{Path: name}
	switch d.role {
	case RoleLeaf:
		f.Leaf = defaultLeaf()
		d.decode(root, f.Leaf)
		d.checkLeaf(f.Leaf)
	case RoleGateway:
		f.Gateway = defaultGateway()
		d.decode(root, f.Gateway)
		d.checkGateway(f.Gateway)
	default:
		f.Server = defaultServer()
		d.decode(root, f.Server)
		d.checkServer(f.Server)
	}
	if err := d.failure(); err != nil {
		return nil, err
	}
	return f, nil
}
