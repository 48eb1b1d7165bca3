package readback

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// BIRD's control socket speaks in lines: a four-digit code, then a dash where more follows or a blank at the end; lines of the
// code before begin with a blank. 0000 ends an answer, and 8000 and above are errors.

func askBIRD(o Options) ([]netip.Prefix, error) {
	c, err := call("bird", o.Socket, o.Timeout)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	lines := bufio.NewReader(io.LimitReader(c, answerMax))
	if _, err := birdAnswer(lines); err != nil { // its greeting
		return nil, err
	}
	command := "show status"
	if o.Table != 0 {
		command = "show route table all where source = RTS_INHERIT" // what it learned of the kernel
	}
	if _, err := io.WriteString(c, command+"\n"); err != nil {
		return nil, silence("bird", err)
	}
	return birdAnswer(lines)
}

// birdAnswer reads one answer and the prefixes in it.
func birdAnswer(r *bufio.Reader) ([]netip.Prefix, error) {
	var routes []netip.Prefix
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, silence("bird", err)
		}
		line = strings.TrimRight(line, "\r\n")
		text, coded := strings.TrimPrefix(line, " "), len(line) >= 5 && digits(line[:4]) && strings.ContainsRune(" -", rune(line[4]))
		if coded {
			text = line[5:]
		}
		if first, _, ok := strings.Cut(text, " "); ok {
			if p, err := netip.ParsePrefix(first); err == nil {
				routes = append(routes, p)
			}
		}
		switch {
		case !coded || line[4] == '-':
		case line[0] >= '8':
			if strings.HasPrefix(line, "8001") { // network not found: it has none
				return nil, nil
			}
			return nil, fmt.Errorf("bird refuses to answer: %s", text)
		default:
			return routes, nil
		}
	}
}

func digits(s string) bool {
	for _, r := range s {
		if r < '0' || r > '9' {
			return false
		}
	}
	return true
}
