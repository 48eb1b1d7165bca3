package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"peerless/internal/config"
)

// load reads a config; whatever is wrong with it is wrong usage.
func load(path string) (*config.File, error) {
	file, err := config.Load(path)
	var problems config.Problems
	if err != nil && !errors.As(err, &problems) {
		return nil, usageError{err}
	}
	return file, err
}

// printJSON writes one indented JSON value.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	return nil
}
