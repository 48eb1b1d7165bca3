package main

import (
	"io"
	"log/slog"

	"peerless/internal/config"
	"peerless/internal/logkey"
)

// newLogger writes what the config asks for; every line bears the node's name.
func newLogger(w io.Writer, c *config.Common) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		level = slog.LevelInfo // the config allows only slog's own names
	}
	opts := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewTextHandler(w, opts)
	if c.Log.Format == "json" {
		h = slog.NewJSONHandler(w, opts)
	}
	return slog.New(h).With(logkey.Node, c.Name)
}
