package main

import (
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"millrace/sandboxes/shared"
)

const fionread = 0x541B

// pump moves one output stream. Nothing is read before what came before is sent: the reader's pace is the code's.
type pump struct {
	from   *os.File
	kind   byte
	out    *shared.Writer
	budget *budget
	moving sync.Mutex // held from reading to having sent
}

// work moves everything until the stream ends.
func (p *pump) work() {
	source, err := p.from.SyscallConn()
	if err != nil {
		return
	}
	buffer := make([]byte, shared.ChunkBytes)
	for ended := false; !ended; {
		err := source.Read(func(fd uintptr) bool {
			p.moving.Lock()
			defer p.moving.Unlock()
			size, err := syscall.Read(int(fd), buffer)
			if err == syscall.EAGAIN {
				return false
			}
			ended = err != nil && err != syscall.EINTR || err == nil && size == 0
			if size > 0 {
				p.send(buffer[:size])
			}
			return true
		})
		ended = ended || err != nil
	}
}

func (p *pump) send(data []byte) {
	if kept := p.budget.keep(p.kind, data); len(kept) > 0 {
		_ = p.out.Write(p.kind, kept) // a sidecar that is gone is noticed where its orders are read
	}
}

// flush waits until what is in the pipe by now is sent.
func (p *pump) flush() {
	source, err := p.from.SyscallConn()
	for held := 1; err == nil && held > 0; {
		p.moving.Lock()
		held = 0
		err = source.Control(func(fd uintptr) {
			var size int32
			syscall.Syscall(syscall.SYS_IOCTL, fd, fionread, uintptr(unsafe.Pointer(&size)))
			held = int(size)
		})
		p.moving.Unlock()
		if held > 0 {
			time.Sleep(100 * time.Microsecond)
		}
	}
}

// budget is how much output is kept, over all commands of the run.
type budget struct {
	mutex                   sync.Mutex
	left, floodMax          int64
	stdout, stderr, dropped int64
	flooded                 func()
}

func (b *budget) limit(limits shared.Limits, flooded func()) {
	b.left, b.floodMax, b.flooded = limits.OutputBytesMax, limits.FloodBytesMax, flooded
}

// keep counts data and returns what of it is sent.
func (b *budget) keep(kind byte, data []byte) []byte {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if kind == shared.Stdout {
		b.stdout += int64(len(data))
	} else {
		b.stderr += int64(len(data))
	}
	kept := min(b.left, int64(len(data)))
	b.left -= kept
	b.dropped += int64(len(data)) - kept
	if b.floodMax > 0 && b.dropped > b.floodMax {
		b.flooded()
	}
	return data[:kept]
}

func (b *budget) tell(ended *shared.Ended) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	ended.StdoutBytes, ended.StderrBytes, ended.DroppedBytes = b.stdout, b.stderr, b.dropped
}
