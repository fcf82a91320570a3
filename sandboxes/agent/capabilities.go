package main

import (
	"syscall"
	"unsafe"
)

const (
	capabilityVersion3 = 0x20080522
	prCapAmbient       = 47
	ambientClearAll    = 4
)

// dropCapabilities gives up every capability of every thread. With no_new_privs none comes back by an exec.
func dropCapabilities() error {
	if _, _, errno := syscall.AllThreadsSyscall(syscall.SYS_PRCTL, prCapAmbient, ambientClearAll, 0); errno != 0 {
		return errno
	}
	header := struct {
		version uint32
		pid     int32
	}{version: capabilityVersion3}
	var none [6]uint32
	_, _, errno := syscall.AllThreadsSyscall(
		syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
