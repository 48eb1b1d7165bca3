// Package arch holds the laws of the source tree, as a test: who may import whom, what packages may not be called, and what pure
// code may not do. It is never imported.
package arch
