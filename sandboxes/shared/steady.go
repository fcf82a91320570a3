package shared

import (
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
)

const (
	processorsMax = 4
	threads       = 24
	memoryTarget  = 24 << 20
)

// Steady makes this process one that does not die of what others use up: Go ends a program whose runtime
// cannot have another thread, so all it will ever need are made now, before any code could take the last one.
func Steady() {
	runtime.GOMAXPROCS(min(processorsMax, runtime.NumCPU()))
	debug.SetMemoryLimit(memoryTarget)
	var asleep sync.WaitGroup
	for i := 0; i < threads; i++ {
		asleep.Add(1)
		go func() {
			defer asleep.Done()
			pause := syscall.Timespec{Nsec: 20_000_000}
			_ = syscall.Nanosleep(&pause, nil) // holds a thread, which then stays
		}()
	}
	asleep.Wait()
}

// Signals takes every signal that can be taken, and returns those of the kinds asked for: the code may send us
// any, and none but these shall mean anything. Several of a kind may come as one.
func Signals(wanted ...os.Signal) <-chan os.Signal {
	ignored, chosen := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(ignored) // a full channel loses what comes, which is right for these
	signal.Notify(chosen, wanted...)
	return chosen
}
