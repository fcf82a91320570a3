package main

import (
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"
)

const (
	prSetDumpable       = 4
	prSetChildSubreaper = 36
	prSetNoNewPrivs     = 38
	seccompSetFilter    = 1
	seccompAllThreads   = 1
)

// seccompCall is the system call's number; it has none in package syscall.
var seccompCall = map[string]uintptr{"amd64": 317, "arm64": 277}[runtime.GOARCH]

// harden keeps code of our own user id out of our memory and descriptors, and out of any new privilege. What
// it leaves behind becomes our child.
func harden() error {
	syscall.Umask(0o022)
	for _, option := range []struct{ name, value uintptr }{{prSetDumpable, 0}, {prSetChildSubreaper, 1}} {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, option.name, option.value, 0); errno != 0 {
			return errno
		}
	}
	if _, _, errno := syscall.AllThreadsSyscall(syscall.SYS_PRCTL, prSetNoNewPrivs, 1, 0); errno != 0 {
		return errno
	}
	return nil
}

// filtered tells that a filter is in force; it forbids, among others, to bring another.
var filtered atomic.Bool

// filter puts this process, and so all that it starts, under a filter of system calls for good.
func filter(program []byte) error {
	const instructionBytes = 8
	if len(program) == 0 || filtered.Load() {
		return nil
	}
	if len(program)%instructionBytes != 0 || seccompCall == 0 {
		return syscall.EINVAL
	}
	prog := struct {
		length uint16
		code   *byte
	}{uint16(len(program) / instructionBytes), &program[0]}
	_, _, errno := syscall.RawSyscall(
		seccompCall, seccompSetFilter, seccompAllThreads, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(program)
	if errno != 0 {
		return errno
	}
	filtered.Store(true)
	return nil
}
