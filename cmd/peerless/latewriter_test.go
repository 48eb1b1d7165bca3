package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// slowWriter lets nothing through until it is told.
type slowWriter struct {
	gate chan struct{}
	strings.Builder
}

func (s *slowWriter) Write(p []byte) (int, error) {
	<-s.gate
	return s.Builder.Write(p)
}

func TestLateWriter_SlowDisk_HoldsNobodyUpAndLosesNothing(t *testing.T) {
	disk := &slowWriter{gate: make(chan struct{})}
	l := newLateWriter(disk)
	var want strings.Builder
	for i := range 1000 {
		line := fmt.Sprintln("line", i)
		want.WriteString(line)
		if n, err := l.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	close(disk.gate)
	l.close()
	if disk.String() != want.String() {
		t.Errorf("%d bytes came out, want %d", disk.Len(), want.Len())
	}
}

func TestLateWriter_FullOfLines_WaitsAndGoesOn(t *testing.T) {
	disk := &slowWriter{gate: make(chan struct{})}
	l := newLateWriter(disk)
	line := []byte(strings.Repeat("x", lateMax/2))
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 10 {
			_, _ = l.Write(line)
		}
	})
	close(disk.gate)
	wg.Wait()
	l.close()
	if disk.Len() != 10*len(line) {
		t.Errorf("%d bytes came out, want %d", disk.Len(), 10*len(line))
	}
}
