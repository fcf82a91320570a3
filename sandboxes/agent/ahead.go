package main

import (
	"bufio"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"millrace/sandboxes/shared"
)

const (
	programFolder = "/program"
	orderBytesMax = 60_000 // less than a fifo holds, so that writing never waits
	readyTimeout  = 60 * time.Second
	lastWord      = "ended" // ours, when the runtime has ended
)

// ahead is a runtime that has started before its program came. Two fifos lead to it: on one it is told what to
// run, on the other it says `ready` and, after a build, `built`. It has opened both when it says anything.
type ahead struct {
	pipes    *pipes
	child    *child
	children *children
	order    *os.File
	word     *os.File
	ready    chan struct{}
	built    chan struct{}
	silent   chan struct{} // closed when no word can come any more
	isReady  atomic.Bool
}

// startAhead starts one, tells how that went as soon as it is known, and returns nil if it could not be started.
func startAhead(command shared.Command, out *shared.Writer, children *children) *ahead {
	a, err := launchAhead(command, children)
	if err != nil {
		_ = out.WriteJSON(shared.Waiting, shared.Readiness{Why: err.Error()})
		return nil
	}
	go a.tell(out)
	return a
}

func launchAhead(command shared.Command, children *children) (*ahead, error) {
	a := &ahead{children: children, ready: make(chan struct{}), built: make(chan struct{}), silent: make(chan struct{})}
	program, env, err := locate(command)
	if err != nil {
		return nil, err
	}
	if err := a.makeFifos(); err != nil {
		return nil, err
	}
	go a.hear()
	var theirs descriptors
	if a.pipes, theirs, err = newPipes(true, false); err != nil {
		return nil, err
	}
	defer theirs.close()
	if err := filter(command.Seccomp); err != nil {
		a.pipes.close()
		return nil, err
	}
	if a.child, err = children.start(program, command, env, theirs); err != nil {
		a.pipes.close()
		return nil, err
	}
	return a, nil
}

// makeFifos makes both and holds each open for reading and writing, so that no side waits for the other.
func (a *ahead) makeFifos() error {
	var opened [2]*os.File
	for i, name := range []string{".order", ".word"} {
		path := filepath.Join(programFolder, name)
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			return err
		}
		file, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		opened[i] = file
	}
	a.order, a.word = opened[0], opened[1]
	return nil
}

func (a *ahead) hear() {
	defer close(a.silent)
	lines := bufio.NewScanner(a.word)
	heard := map[string]chan struct{}{"ready": a.ready, "built": a.built}
	for lines.Scan() && lines.Text() != lastWord {
		if told := heard[lines.Text()]; told != nil {
			delete(heard, lines.Text())
			close(told)
		}
	}
}

func (a *ahead) tell(out *shared.Writer) {
	why := ""
	select {
	case <-a.ready:
		a.isReady.Store(true)
	case <-a.child.ended:
		why = "the runtime ended before it was ready"
	case <-time.After(readyTimeout):
		why = "the runtime was not ready in time"
	}
	_ = out.WriteJSON(shared.Waiting, shared.Readiness{Ready: why == "", Why: why})
}

// accept says whether it will run this.
func (a *ahead) accept(order shared.Order) bool {
	a.removeFifos()
	if order.Order == "" || len(order.Order) > orderBytesMax || !a.isReady.Load() {
		return false
	}
	select {
	case <-a.child.ended:
		return false
	default:
		return true
	}
}

// let tells it what to run; that we close the fifo is the order's end.
func (a *ahead) let(order string) {
	_, _ = a.order.WriteString(order)
	a.order.Close()
}

// builds waits for the end of a build and says whether it went well.
func (a *ahead) builds() bool {
	select {
	case <-a.built:
		return true
	case <-a.child.ended:
		go func() { _, _ = a.word.WriteString("\n" + lastWord + "\n") }() // its own may still be unread
		<-a.silent
	}
	select {
	case <-a.built:
		return true
	default:
		return false
	}
}

// dismiss ends it, as if it had never been.
func (a *ahead) dismiss() {
	a.children.bury()
	a.pipes.close()
	a.order.Close()
}

func (a *ahead) removeFifos() {
	for _, name := range []string{".order", ".word"} {
		_ = os.Remove(filepath.Join(programFolder, name))
	}
}
