package main

import (
	"syscall"
	"unsafe"

	"millrace/sandboxes/shared"
)

const (
	rlimitMemlock = 8
	memlockBytes  = 64 << 10
	dataFactor    = 4
	dataBytesMin  = 4 << 30
)

// confine puts us, and so all that starts from now on and the runtime that waits, under the limits of a run for
// good: none of them is one that we could hit ourselves.
func confine(order shared.Order) error {
	pids := append(others(), 0)
	for kind, value := range rlimits(order.Limits) {
		for _, pid := range pids {
			if err := lower(pid, kind, value); err != nil && err != syscall.ESRCH {
				return err
			}
		}
	}
	return filter(order.Seccomp)
}

func rlimits(limits shared.Limits) map[int]uint64 {
	chosen := map[int]uint64{syscall.RLIMIT_CORE: 0, rlimitMemlock: memlockBytes}
	if limits.OpenFilesMax > 0 {
		chosen[syscall.RLIMIT_NOFILE] = limits.OpenFilesMax
	}
	if limits.DiskBytesMax > 0 {
		chosen[syscall.RLIMIT_FSIZE] = limits.DiskBytesMax
	}
	if limits.MemoryBytesMax > 0 {
		// the watch needs some milliseconds; this bounds what one process gets meanwhile
		chosen[syscall.RLIMIT_DATA] = max(uint64(limits.MemoryBytesMax)*dataFactor, dataBytesMin)
	}
	return chosen
}

// lower sets a limit of a process, or keeps the container's where that is lower. Process 0 is our own.
func lower(pid, kind int, value uint64) error {
	var held syscall.Rlimit
	if err := prlimit(pid, kind, nil, &held); err != nil {
		return err
	}
	value = min(value, held.Max)
	wanted := syscall.Rlimit{Cur: value, Max: value}
	if pid == 0 {
		return syscall.Setrlimit(kind, &wanted) // for Go to know: it gives its children other limits else
	}
	return prlimit(pid, kind, &wanted, nil)
}

func prlimit(pid, kind int, wanted, held *syscall.Rlimit) error {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(pid), uintptr(kind),
		uintptr(unsafe.Pointer(wanted)), uintptr(unsafe.Pointer(held)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
