package main

import (
	"os"
	"syscall"
	"time"

	"millrace/sandboxes/shared"
)

const (
	statState  = 0
	creditMost = 50 * time.Millisecond // of CPU time saved up by idling
	pauseMost  = 200 * time.Millisecond
)

// throttle holds all processes of a run together to fewer CPUs than their container has. A container's own quota
// cannot be changed from inside, so whoever used too much is stopped until its share of time has come up to it.
type throttle struct {
	cpus  float64
	quit  chan struct{}
	ended chan struct{}
}

func startThrottle(limits shared.Limits) *throttle {
	t := &throttle{cpus: limits.CPUs, quit: make(chan struct{}), ended: make(chan struct{})}
	if t.cpus > 0 {
		go t.work()
	} else {
		close(t.ended)
	}
	return t
}

func (t *throttle) stop() {
	close(t.quit)
	<-t.ended
}

func (t *throttle) work() {
	defer close(t.ended)
	debt := &debt{cpus: t.cpus, used: measure().cpuS}
	last, pause := time.Now(), lookPause
	for t.sleep(pause) {
		now := time.Now()
		owed := debt.after(now.Sub(last), measure().cpuS)
		last, pause = now, max(lookPause, idleFactor*time.Since(now))
		if owed > 0 && !t.hold(owed) {
			return
		}
	}
}

// hold stops everybody for a while, and says whether there is more to do. Who had stopped by itself stays so.
func (t *throttle) hold(owed time.Duration) bool {
	already := map[int]bool{}
	for _, pid := range others() {
		already[pid] = isStopped(pid)
	}
	signalAll(syscall.SIGSTOP)
	goesOn := t.sleep(min(owed, pauseMost))
	for _, pid := range others() {
		if !already[pid] {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	}
	return goesOn
}

func (t *throttle) sleep(pause time.Duration) bool {
	select {
	case <-t.quit:
		return false
	case <-time.After(pause):
		return true
	}
}

func isStopped(pid int) bool {
	fields := stat(pid)
	return fields != nil && fields[statState] == "T"
}

// debt is the CPU time used beyond what the time that has passed allows.
type debt struct {
	cpus float64
	used float64 // seconds, when it was last looked at
	cpu  float64 // seconds owed; negative: saved up
}

// after returns how long nothing may run now: `passed` after the last look, `used` seconds were used in all.
func (d *debt) after(passed time.Duration, used float64) time.Duration {
	d.cpu += used - d.used - passed.Seconds()*d.cpus
	d.cpu = max(d.cpu, -creditMost.Seconds())
	d.used = used
	if d.cpu <= 0 {
		return 0
	}
	return time.Duration(d.cpu / d.cpus * float64(time.Second))
}

// signalAll sends a signal to every process but ours: as process 1 in one stroke, else to all that it finds.
func signalAll(number syscall.Signal) {
	if os.Getpid() == 1 {
		_ = syscall.Kill(-1, number)
		return
	}
	for _, pid := range descendants() {
		_ = syscall.Kill(pid, number)
	}
}
