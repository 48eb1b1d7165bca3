package vm

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// wantedModules are what a machine of ours may need: its root file system, then the devices of a lab.
var wantedModules = []string{
	"virtio_pci", "9pnet_virtio", "9p",
	"veth", "bridge", "bonding", "8021q", "macvlan", "dummy", "vrf", "sch_ingress", "cls_bpf",
}

// moduleOptions keep modules from making devices that nobody asked for.
var moduleOptions = map[string]string{"bonding": "max_bonds=0", "dummy": "numdummies=0"}

// modulePlaces are the parts of the package that these modules and their dependencies are in; the rest is 400 MB of drivers.
var modulePlaces = []string{
	"drivers/virtio/", "drivers/net/bonding/", "drivers/net/veth.", "drivers/net/macvlan.", "drivers/net/dummy.", "drivers/net/vrf.",
	"fs/9p/", "fs/fscache/", "fs/netfs/",
	"net/9p/9pnet.", "net/9p/9pnet_virtio.", "net/802/", "net/8021q/", "net/bridge/bridge.", "net/llc/", "net/sched/sch_ingress.", "net/sched/cls_bpf.",
	"net/tls/",
}

const (
	metaPackage = "linux-image-amd64" // depends on the newest kernel
	imageFile   = "vmlinuz"
	moduleEnd   = ".ko"
)

// Kernel is Debian's kernel, unpacked where we may.
type Kernel struct {
	Package string // linux-image-6.1.0-N-amd64
	dir     string
}

// Fetch downloads Debian's newest kernel package and unpacks what is needed of it below dir, unless it is there already. It
// installs nothing.
func Fetch(ctx context.Context, dir string) (*Kernel, error) {
	name, err := newest(ctx)
	if err != nil {
		return latestOf(dir, err)
	}
	k := &Kernel{Package: name, dir: filepath.Join(dir, name)}
	if _, err := os.Stat(k.dir); err == nil {
		return k, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make kernel directory: %w", err)
	}
	tmp, err := os.MkdirTemp(dir, "new-")
	if err != nil {
		return nil, fmt.Errorf("make kernel directory: %w", err)
	}
	defer os.RemoveAll(tmp) // it has been renamed, or is rubbish
	if err := download(ctx, tmp, name); err != nil {
		return latestOf(dir, err)
	}
	if err := os.Rename(filepath.Join(tmp, "keep"), k.dir); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("keep kernel %s: %w", name, err)
	}
	return k, nil
}

// latestOf falls back on a kernel fetched before, where there is no package list or no network.
func latestOf(dir string, why error) (*Kernel, error) {
	have, _ := filepath.Glob(filepath.Join(dir, "linux-image-*"))
	if len(have) == 0 {
		return nil, why
	}
	slices.Sort(have)
	last := have[len(have)-1]
	return &Kernel{Package: filepath.Base(last), dir: last}, nil
}

// newest asks apt which package the meta package stands for.
func newest(ctx context.Context) (string, error) {
	out, err := command(ctx, "", "apt-cache", "depends", "--important", metaPackage)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: "); ok && strings.HasPrefix(name, "linux-image-") {
			return name, nil
		}
	}
	return "", fmt.Errorf("apt knows no kernel package (apt-get update?)")
}

// download gets the package into dir and what we need of it into dir/keep.
func download(ctx context.Context, dir, name string) error {
	if _, err := command(ctx, dir, "apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", name); err != nil {
		return err
	}
	debs, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
	if len(debs) != 1 {
		return fmt.Errorf("download %s: %d files came", name, len(debs))
	}
	defer os.Remove(debs[0]) // its directory goes next
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", debs[0])
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	err = unpack(tar.NewReader(pipe), filepath.Join(dir, "keep"))
	if err != nil {
		_ = cmd.Process.Kill()
	}
	if err = errors.Join(err, cmd.Wait()); err != nil {
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	return nil
}

// unpack writes the kernel and the modules flat into a directory.
func unpack(t *tar.Reader, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name, keep := keepAs(h.Name)
		if !keep || h.Typeflag != tar.TypeReg {
			continue
		}
		body, err := io.ReadAll(t)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o644); err != nil {
			return err
		}
	}
}

// keepAs tells whether a file of the package is needed, and its name with us.
func keepAs(file string) (name string, keep bool) {
	if strings.HasPrefix(path.Base(file), imageFile+"-") {
		return imageFile, true
	}
	_, place, ok := strings.Cut(file, "/kernel/")
	if !ok || !strings.Contains(path.Base(file), moduleEnd) {
		return "", false
	}
	return path.Base(file), slices.ContainsFunc(modulePlaces, func(p string) bool { return strings.HasPrefix(place, p) })
}

func (k *Kernel) image() string { return filepath.Join(k.dir, imageFile) }

// modules reads all modules that were kept and puts the wanted ones in the order of loading.
func (k *Kernel) modules(ctx context.Context) ([]module, error) {
	files, _ := filepath.Glob(filepath.Join(k.dir, "*"+moduleEnd+"*"))
	all := map[string]module{}
	for _, f := range files {
		b, err := readPlain(ctx, f)
		if err != nil {
			return nil, err
		}
		m, err := readModule(b)
		if err != nil {
			return nil, fmt.Errorf("read module %s: %w", f, err)
		}
		all[m.name] = m
	}
	return inOrder(all, wantedModules)
}

// readPlain reads a file and unpacks it if its name says that it is compressed.
func readPlain(ctx context.Context, file string) ([]byte, error) {
	if strings.HasSuffix(file, ".xz") {
		return command(ctx, "", "xz", "-dc", file)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	return b, nil
}

// command runs a program and gives its output; its error holds what it complained about.
func command(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run %s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return out, nil
}
