package main

import (
	"crypto/rand"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
)

// install copies what the language container needs from this image below `from`, and leaves a new key.
func install(from, to string) error {
	if err := copyFile(filepath.Join(from, "agent"), filepath.Join(to, "agent"), 0o755); err != nil {
		return err
	}
	guest, err := os.ReadDir(filepath.Join(from, "guest"))
	if err != nil {
		return err
	}
	for _, each := range guest {
		if err := copyFile(filepath.Join(from, "guest", each.Name()), filepath.Join(to, each.Name()), 0o644); err != nil {
			return err
		}
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	// it opens the agent's door once, before any code runs; then there is no door for whoever reads it
	return os.WriteFile(filepath.Join(to, "key"), []byte(hex.EncodeToString(key)), 0o444)
}

func copyFile(from, to string, mode os.FileMode) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(target, source); err != nil {
		target.Close()
		return err
	}
	return target.Close()
}
