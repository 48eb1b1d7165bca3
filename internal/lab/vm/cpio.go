package vm

import (
	"fmt"
	"io"
)

// File types and modes of the archive, as stat(2) spells them.
const (
	dirMode  = 0o040755
	execMode = 0o100755
	dataMode = 0o100644
)

// cpioEnd is the name of an archive's last entry.
const cpioEnd = "TRAILER!!!"

// archive writes the "newc" form of cpio that the kernel unpacks as its first root file system
// (Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	w     io.Writer
	inode int
	err   error
}

func (a *archive) dir(name string)                { a.entry(name, dirMode, nil) }
func (a *archive) program(name string, b []byte)  { a.entry(name, execMode, b) }
func (a *archive) document(name string, b []byte) { a.entry(name, dataMode, b) }

// close ends the archive and gives the first error of all.
func (a *archive) close() error {
	a.inode = -1 // the trailer has number 0
	a.entry(cpioEnd, 0, nil)
	return a.err
}

func (a *archive) entry(name string, mode int, body []byte) {
	if a.err != nil {
		return
	}
	a.inode++
	const (
		headerLen = 110
		links     = 1
	)
	size := len(name) + 1
	if _, a.err = fmt.Fprintf(a.w, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00%s",
		a.inode, mode, 0, 0, links, 0, len(body), 0, 0, 0, 0, size, 0, name, padding(headerLen+size)); a.err != nil {
		return
	}
	if _, a.err = a.w.Write(body); a.err != nil {
		return
	}
	_, a.err = io.WriteString(a.w, padding(len(body)))
}

// padding fills up to four bytes.
func padding(n int) string { return "\x00\x00\x00"[:-n&3] }
