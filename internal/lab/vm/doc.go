// Package vm boots Debian's own kernel in software emulation and runs a program of this machine in it: for what the running
// kernel lacks, real bonds and VLAN devices above all.
//
// It decides how such a machine is put together, and that it ends in time. It never installs a kernel, never writes to this
// machine's root file system, and never touches a process that it did not start. It knows nothing of what runs inside.
package vm
