package vm

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"fmt"
	"os"
	"strings"
)

//go:embed init.sh
var initScript []byte

// busybox is what Debian's busybox-static installs.
const busybox = "/bin/busybox"

// initramfs makes the machine's first root file system: busybox, the modules, and the program that does the rest.
func initramfs(ctx context.Context, k *Kernel, nonce string) ([]byte, error) {
	modules, err := k.modules(ctx)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", k.Package, err)
	}
	box, err := os.ReadFile(busybox)
	if err != nil {
		return nil, fmt.Errorf("read busybox: %w", err)
	}
	var out bytes.Buffer
	zip, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		return nil, fmt.Errorf("pack initramfs: %w", err)
	}
	a := &archive{w: zip}
	for _, d := range []string{"bin", "dev", "proc", "sys", "root", "modules"} {
		a.dir(d)
	}
	a.program("bin/busybox", box)
	a.program("init", initScript)
	a.document("nonce", []byte(nonce+"\n"))
	var order strings.Builder
	for _, m := range modules {
		a.document("modules/"+m.name+moduleEnd, m.image)
		a.document("modules/"+m.name+".options", []byte(moduleOptions[m.name]+"\n"))
		fmt.Fprintln(&order, m.name)
	}
	a.document("modules.order", []byte(order.String()))
	if err := a.close(); err != nil {
		return nil, fmt.Errorf("pack initramfs: %w", err)
	}
	if err := zip.Close(); err != nil {
		return nil, fmt.Errorf("pack initramfs: %w", err)
	}
	return out.Bytes(), nil
}
