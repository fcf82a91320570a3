package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func aFolder(t *testing.T) (string, folder) {
	t.Helper()
	place := t.TempDir()
	opened, err := openFolder(place)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(opened.fd) })
	return place, opened
}

func TestNamesThatLeadElsewhereAreRefused(t *testing.T) {
	_, folder := aFolder(t)
	for _, name := range []string{"", ".", "..", "/x", "a/../b", "a//b", "a/", "n\x00l", strings.Repeat("d/", 40) + "x"} {
		if err := folder.put(name, strings.NewReader("x")); !errors.Is(err, errName) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestNoLinkIsFollowedOnTheWayInOrOut(t *testing.T) {
	place, folder := aFolder(t)
	outside := t.TempDir()
	for name, target := range map[string]string{"folder": outside, "file": filepath.Join(outside, "f")} {
		if err := os.Symlink(target, filepath.Join(place, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(outside, "f"), []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"folder/f", "file"} {
		if err := folder.put(name, strings.NewReader("x")); err == nil {
			t.Errorf("%s was written through", name)
		}
		if file, err := folder.open(name, syscall.O_RDONLY, false); err == nil {
			file.Close()
			t.Errorf("%s was read through", name)
		}
	}
}

func TestAFifoIsNeitherWaitedForNorRead(t *testing.T) {
	place, folder := aFolder(t)
	if err := syscall.Mkfifo(filepath.Join(place, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := folder.open("fifo", syscall.O_RDONLY, false); !errors.Is(err, errFile) {
		t.Errorf("reading: %v", err)
	}
	if err := folder.put("fifo", strings.NewReader("x")); err == nil {
		t.Error("writing went well")
	}
}

func TestWhatIsFoundIsSortedAndToldOnce(t *testing.T) {
	_, folder := aFolder(t)
	for _, name := range []string{"b", "a/x", "a.txt"} {
		if err := folder.put(name, strings.NewReader(name)); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for _, each := range folder.find() {
		names = append(names, each.Name)
	}
	if strings.Join(names, " ") != "a.txt a/x b" {
		t.Errorf("found %v", names)
	}
}
