// Command seeds runs seeds of the simulator until an invariant breaks, and prints what broke as JSON. The mutation suite builds it
// over sources that it has damaged.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"os"

	"peerless/internal/sim"
)

func main() {
	from := flag.Uint64("from", 1, "the first seed")
	count := flag.Int("seeds", 100, "how many at most")
	flag.Parse()
	b := sim.RunMany(context.Background(), *from, *count, func(r sim.Result) bool { return r.OK })
	if err := json.NewEncoder(os.Stdout).Encode(b); err != nil {
		os.Exit(1)
	}
}
