package config

import (
	_ "embed"
	"fmt"
)

// The reference configs: every key of a role, explained, with its unit and default. They parse as they stand.
var (
	//go:embed leaf.yaml
	leafReference string
	//go:embed gateway.yaml
	gatewayReference string
	//go:embed server.yaml
	serverReference string
)

// Reference is the reference config of a role.
func Reference(role string) (string, error) {
	switch role {
	case RoleLeaf:
		return leafReference, nil
	case RoleGateway:
		return gatewayReference, nil
	case RoleServer:
		return serverReference, nil
	}
	return "", fmt.Errorf("reference config of role %q: unknown role; use leaf, gateway or server", role)
}
