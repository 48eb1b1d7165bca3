// Package stories holds what must be true of the whole on a standing lab: tables, captures, events, restarts. It has only
// tests; they run the built binary as a person would and look into the nodes with sockets of their own.
package stories
