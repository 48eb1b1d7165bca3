package readback

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// FRR's daemons listen on unix sockets NAME.vty, where vtysh sends commands that end with a zero byte. An answer ends with three
// zero bytes and one byte of status.

var endOfAnswer = []byte{0, 0, 0}

// protocols are the daemons that may carry our routes; one of them has to work.
var protocols = []string{"ospfd", "bgpd"}

func askFRR(o Options) ([]netip.Prefix, error) {
	if err := anyProtocol(filepath.Dir(o.Socket), o.Timeout); err != nil {
		// Zebra's own trouble explains that of the others.
		if _, zebra := vty("zebra", o.Socket, o.Timeout, "show version"); zebra != nil {
			return nil, zebra
		}
		return nil, err
	}
	if o.Table == 0 {
		_, err := vty("zebra", o.Socket, o.Timeout, "show version")
		return nil, err
	}
	// What is imported is of protocol "table"; the second form is for versions that do not know the first.
	for _, command := range []string{"show ip route table json", "show ip route json"} {
		answer, err := vty("zebra", o.Socket, o.Timeout, command)
		if err != nil {
			return nil, err
		}
		if routes, err := imported(answer, o.Table); err == nil {
			return routes, nil
		}
	}
	return nil, errors.New("zebra does not list its routes as JSON")
}

// anyProtocol reports an error unless one of the daemons answers. A daemon that was killed leaves its socket behind.
func anyProtocol(dir string, timeout time.Duration) error {
	var died error
	for _, daemon := range protocols {
		socket := filepath.Join(dir, daemon+".vty")
		if _, err := os.Stat(socket); err != nil {
			continue
		}
		_, err := vty(daemon, socket, timeout, "show version")
		if err == nil {
			return nil
		}
		died = errors.Join(died, err)
	}
	if died != nil {
		return errors.New(strings.ReplaceAll(died.Error(), "\n", "; "))
	}
	return fmt.Errorf("neither %s has a socket in %s: no routing daemon is running", strings.Join(protocols, " nor "), dir)
}

// vty runs one command.
func vty(daemon, socket string, timeout time.Duration, command string) ([]byte, error) {
	c, err := call(daemon, socket, timeout)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := c.Write(append([]byte(command), 0)); err != nil {
		return nil, silence(daemon, err)
	}
	answer, err := readAnswer(c)
	if err != nil {
		return nil, silence(daemon, err)
	}
	return answer, nil
}

func readAnswer(r io.Reader) ([]byte, error) {
	var answer []byte
	chunk := make([]byte, 1<<16)
	for len(answer) < answerMax {
		n, err := r.Read(chunk)
		answer = append(answer, chunk[:n]...)
		if end := len(answer) - 1; end >= len(endOfAnswer) && bytes.HasSuffix(answer[:end], endOfAnswer) {
			return answer[:end-len(endOfAnswer)], nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, errors.New("the answer has no end")
}

// imported reads what zebra lists of a table that it imports.
func imported(answer []byte, table uint32) ([]netip.Prefix, error) {
	var list map[string][]struct {
		Protocol string `json:"protocol"`
		Instance uint32 `json:"instance"`
		Selected bool   `json:"selected"`
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return nil, fmt.Errorf("read routes of zebra: %w", err)
	}
	var routes []netip.Prefix
	for text, entries := range list {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if e.Protocol == "table" && e.Instance == table && e.Selected {
				routes = append(routes, p)
			}
		}
	}
	return routes, nil
}
