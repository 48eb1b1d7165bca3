package daemon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"time"

	"peerless/internal/engineconf"
)

// Where Debian has BIRD, and the name of its control socket.
const (
	birdProgram = "/usr/sbin/bird"
	birdSocket  = "bird.ctl"
)

// askMax bounds one question.
const askMax = 5 * time.Second

func (s Spec) birdCommand(p engineconf.Program, more []string) *exec.Cmd {
	args := []string{"-f", "-c", s.path(s.Files.Name), "-s", s.path(birdSocket), "-P", s.path("bird.pid")}
	return exec.Command(birdProgram, append(append(args, p.Args...), more...)...)
}

// askBIRD speaks the protocol of birdc: every line of an answer has a code of four digits and a dash, the last one a blank instead
// of the dash; a line that begins with a blank goes on with the code before. Codes from 8000 are errors.
func (s Spec) askBIRD(ctx context.Context, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askMax)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", s.path(birdSocket))
	if err != nil {
		return "", err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return "", err
	}
	in := bufio.NewReader(c)
	if _, err := birdAnswer(in); err != nil { // the greeting
		return "", err
	}
	if _, err := fmt.Fprintln(c, command); err != nil {
		return "", err
	}
	return birdAnswer(in)
}

const birdCodeLen = 4

func birdAnswer(in *bufio.Reader) (string, error) {
	var out strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("read answer: %w", err)
		}
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, " "); ok {
			out.WriteString(rest + "\n")
			continue
		}
		if len(line) <= birdCodeLen {
			return "", fmt.Errorf("unexpected answer %q", line)
		}
		code, last, words := line[:birdCodeLen], line[birdCodeLen] == ' ', line[birdCodeLen+1:]
		if words != "" {
			out.WriteString(words + "\n")
		}
		if !last {
			continue
		}
		if code >= "8000" {
			return "", errors.New(strings.TrimSpace(out.String()))
		}
		return out.String(), nil
	}
}
