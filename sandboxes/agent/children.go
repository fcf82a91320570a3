package main

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"millrace/sandboxes/shared"
)

// children buries what ends, whoever started it, and kills what shall end.
type children struct {
	mutex sync.Mutex // no child is buried before we know that it is ours
	main  *child
}

// child is the command that runs now.
type child struct {
	pid    int
	status syscall.WaitStatus // once ended is closed
	ended  chan struct{}
}

func watchChildren() *children {
	c := &children{}
	deaths := shared.Signals(syscall.SIGCHLD)
	go func() {
		for range deaths {
			c.reap()
		}
	}()
	return c
}

// start starts one command.
func (c *children) start(program string, command shared.Command, env []string, stdio descriptors) (*child, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	pid, err := syscall.ForkExec(program, command.Argv, &syscall.ProcAttr{
		Dir: command.Cwd, Env: env, Files: stdio, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", command.Argv[0], err)
	}
	preferAsVictim(pid)
	c.main = &child{pid: pid, ended: make(chan struct{})}
	return c.main, nil
}

// reap buries all that has ended, and says whether nothing is left.
func (c *children) reap() bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return true
		case pid == 0:
			return false
		case c.main != nil && pid == c.main.pid:
			c.main.status = status
			close(c.main.ended)
			c.main = nil
		}
	}
}

// bury kills and reaps until nothing is left, however fast it forks.
func (c *children) bury() {
	for {
		killAll()
		if c.reap() {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// preferAsVictim has the kernel, when it is out of memory, take commands before us, who must tell the sidecar.
func preferAsVictim(pid int) {
	_ = os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte("1000"), 0)
}

// killAll kills every process but ours.
func killAll() { signalAll(syscall.SIGKILL) }
