package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestInstallLeavesAnAgentTheGuestsFilesAndAKeyOfItsOwn(t *testing.T) {
	image := t.TempDir()
	if err := os.Mkdir(filepath.Join(image, "guest"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"agent", "guest/guest.zip"} {
		if err := os.WriteFile(filepath.Join(image, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	keys := map[string]bool{}
	for i := 0; i < 2; i++ {
		to := t.TempDir()
		if err := install(image, to); err != nil {
			t.Fatal(err)
		}
		held, err := os.Stat(filepath.Join(to, "agent"))
		if err != nil || held.Mode()&0o111 == 0 {
			t.Errorf("the agent cannot be run: %v", err)
		}
		if text, err := os.ReadFile(filepath.Join(to, "guest.zip")); err != nil || string(text) != "guest/guest.zip" {
			t.Errorf("guest.zip: %q %v", text, err)
		}
		key, err := os.ReadFile(filepath.Join(to, "key"))
		if err != nil || len(key) != 64 {
			t.Errorf("the key: %d bytes, %v", len(key), err)
		}
		keys[string(key)] = true
	}
	if len(keys) != 2 {
		t.Error("two pods have one key")
	}
}
