package main

import (
	"net"
	"os"
	"syscall"
)

const handedOver = 3

// enter comes from the sidecar in nsenter mode, as process 1 of a new pid namespace: it makes /proc that
// namespace's, gives up the privileges that this takes, and takes the connection that it was handed.
func enter() (net.Conn, error) {
	if err := syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return nil, &os.PathError{Op: "mount", Path: "/proc", Err: err}
	}
	if err := dropCapabilities(); err != nil {
		return nil, err
	}
	file := os.NewFile(handedOver, "sidecar")
	defer file.Close()
	return net.FileConn(file)
}
