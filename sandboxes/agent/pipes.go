package main

import (
	"os"
	"sync"
	"syscall"

	"millrace/sandboxes/shared"
)

// descriptors are what a command finds at 0, 1, 2 and, with tools, 3 (to read results) and 4 (to write calls).
type descriptors []uintptr

func (d descriptors) close() {
	for _, fd := range d {
		syscall.Close(int(fd))
	}
}

// pipes are our ends of a command's; those it lacks are nil.
type pipes struct {
	stdin, stdout, stderr, results, calls *os.File
	output                                []*pump
}

// newPipes makes the pipes of one command. Without `stdin` it reads nothing at all.
func newPipes(stdin, tools bool) (*pipes, descriptors, error) {
	p, theirs := &pipes{}, descriptors{}
	var failure error
	open := func(ours **os.File, oursReads bool) {
		if failure == nil {
			failure = pipe(ours, &theirs, oursReads)
		}
	}
	if stdin {
		open(&p.stdin, false)
	} else if fd, err := syscall.Open("/dev/null", syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err == nil {
		theirs = append(theirs, uintptr(fd))
	} else {
		failure = err
	}
	open(&p.stdout, true)
	open(&p.stderr, true)
	if tools {
		open(&p.results, false)
		open(&p.calls, true)
	}
	if failure != nil {
		p.close()
		theirs.close()
		return nil, nil, failure
	}
	return p, theirs, nil
}

func pipe(ours **os.File, theirs *descriptors, oursReads bool) error {
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
		return err
	}
	mine, other := ends[1], ends[0]
	if oursReads {
		mine, other = other, mine
	}
	*theirs = append(*theirs, uintptr(other))
	if err := syscall.SetNonblock(mine, true); err != nil { // so that closing ends a read or write that waits
		syscall.Close(mine)
		return err
	}
	*ours = os.NewFile(uintptr(mine), "pipe")
	return nil
}

// close lets go of all our ends. Safe to call twice.
func (p *pipes) close() {
	for _, file := range []*os.File{p.stdin, p.stdout, p.stderr, p.results, p.calls} {
		if file != nil {
			file.Close()
		}
	}
}

// pump sends what the command writes; what it returns is closed when both streams have ended.
func (p *pipes) pump(out *shared.Writer, budget *budget) <-chan struct{} {
	p.output = []*pump{
		{from: p.stdout, kind: shared.Stdout, out: out, budget: budget},
		{from: p.stderr, kind: shared.Stderr, out: out, budget: budget},
	}
	done := make(chan struct{})
	var both sync.WaitGroup
	for _, each := range p.output {
		both.Add(1)
		go func(each *pump) {
			defer both.Done()
			each.work()
		}(each)
	}
	go func() {
		both.Wait()
		close(done)
	}()
	return done
}
