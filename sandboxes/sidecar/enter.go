package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

const (
	agentPlace  = "/millrace/agent"
	holding     = agentPlace + "\x00hold\x00"
	cloneFS     = 0x200
	cloneNewNS  = 0x20000
	cloneNewPID = 0x20000000
	capSysAdmin = 21
)

// setnsCall is the system call's number; it has none in package syscall on every architecture.
var setnsCall = map[string]uintptr{"amd64": 308, "arm64": 268}[runtime.GOARCH]

// enter starts the agent inside the language container, whose processes we see: in its mounts, with its
// environment, in a new pid namespace below ours. It is the agent's side that gives up what this takes.
func enter() (net.Conn, error) {
	place, err := findHolder()
	if err != nil {
		return nil, err
	}
	environ, err := os.ReadFile(filepath.Join(place, "environ"))
	if err != nil {
		return nil, err
	}
	mounts, err := os.Open(filepath.Join(place, "ns/mnt"))
	if err != nil {
		return nil, err
	}
	defer mounts.Close()
	ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(ends[0]), "agent"), os.NewFile(uintptr(ends[1]), "sidecar")
	defer ours.Close()
	defer theirs.Close()
	env := strings.Split(strings.TrimRight(string(environ), "\x00"), "\x00")
	failed := make(chan error)
	go func() { failed <- startInside(mounts, theirs, env) }()
	if err := <-failed; err != nil {
		return nil, err
	}
	return net.FileConn(ours)
}

// findHolder returns the folder in /proc of the process that holds the language container.
func findHolder() (string, error) {
	places, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return "", err
	}
	for _, place := range places {
		if words, err := os.ReadFile(filepath.Join(place, "cmdline")); err == nil && string(words) == holding {
			return place, nil
		}
	}
	return "", errors.New("the language container does not run (is shareProcessNamespace set?)")
}

// startInside runs on a thread of its own that ends with it, for that thread is somewhere else afterwards.
func startInside(mounts, connection *os.File, env []string) error {
	runtime.LockOSThread()
	if _, _, errno := syscall.RawSyscall(syscall.SYS_UNSHARE, cloneFS, 0, 0); errno != 0 {
		return fmt.Errorf("unshare: %w", errno)
	}
	if _, _, errno := syscall.RawSyscall(setnsCall, mounts.Fd(), cloneNewNS, 0); errno != 0 {
		return fmt.Errorf("setns: %w", errno)
	}
	pid, err := syscall.ForkExec(agentPlace, []string{agentPlace, "enter"}, &syscall.ProcAttr{
		Dir: "/", Env: env, Files: []uintptr{0, 1, 2, connection.Fd()},
		Sys: &syscall.SysProcAttr{
			Cloneflags: cloneNewPID | cloneNewNS, AmbientCaps: []uintptr{capSysAdmin}, Setsid: true,
		},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", agentPlace, err)
	}
	go func() { _, _ = syscall.Wait4(pid, nil, 0, nil) }()
	return nil
}
