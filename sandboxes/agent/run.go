package main

import (
	"errors"
	"sync"
	"time"

	"millrace/sandboxes/shared"
)

var errStopped = errors.New("it was stopped before it started")

// run is the one execution of this agent's life: commands in order, the first that fails is the last.
type run struct {
	out      *shared.Writer
	children *children
	stdin    *feed
	tools    *tools
	clock    *clock
	budget   *budget

	mutex   sync.Mutex // nothing is started once it is stopped
	stopped string     // why we ended it
	over    bool
}

func newRun(out *shared.Writer, children *children) *run {
	r := &run{out: out, children: children, stdin: newFeed(acknowledge(out)), clock: &clock{}, budget: &budget{}}
	r.tools = &tools{out: out, clock: r.clock, results: newFeed(nil)}
	return r
}

// stop kills everything, for the first reason given.
func (r *run) stop(why string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.stopped != "" || r.over {
		return
	}
	r.stopped = why
	killAll()
}

// carryOut runs the order and says how it ended.
func (r *run) carryOut(order shared.Order, waiting *ahead) {
	began := time.Now()
	r.budget.limit(order.Limits, func() { r.stop(shared.Flooded) })
	if waiting != nil && !waiting.accept(order) {
		waiting.dismiss()
		waiting = nil
	}
	if err := confine(order); err != nil {
		r.fail(err)
		return
	}
	before, watch := measure(), startWatch(order.Limits, r.stop)
	throttle := startThrottle(order.Limits)
	ended := &shared.Ended{Stage: order.Commands[len(order.Commands)-1].Stage}
	var err error
	if waiting != nil {
		r.carryOutWaiting(order, waiting, ended)
	} else {
		err = r.carryOutAll(order, ended)
	}
	throttle.stop()
	if err != nil && !errors.Is(err, errStopped) {
		watch.stop()
		r.fail(err)
		return
	}
	r.finish(ended, watch.stop(), before, began)
}

// carryOutAll starts the commands one after the other.
func (r *run) carryOutAll(order shared.Order, ended *shared.Ended) error {
	for i, command := range order.Commands {
		last := i == len(order.Commands)-1
		pipes, child, err := r.start(command, last, last && order.Tools)
		if err != nil {
			return err
		}
		if last {
			r.stdin.open(pipes.stdin)
			r.tools.open(pipes)
		}
		done := pipes.pump(r.out, r.budget)
		r.clock.begin(command, r.timeOut)
		<-child.ended
		r.children.bury()
		r.clock.end()
		<-done
		pipes.close()
		if ended.Tell(command.Stage, int(child.status)); child.status != 0 {
			break
		}
	}
	return nil
}

// carryOutWaiting lets the runtime that waits go through all stages by itself.
func (r *run) carryOutWaiting(order shared.Order, waiting *ahead, ended *shared.Ended) {
	r.stdin.open(waiting.pipes.stdin)
	done := waiting.pipes.pump(r.out, r.budget)
	waiting.let(order.Order)
	for _, command := range order.Commands {
		r.clock.begin(command, r.timeOut)
		if command.Stage == "build" && waiting.builds() {
			ended.Tell(command.Stage, 0)
			continue
		}
		<-waiting.child.ended
		r.children.bury()
		ended.Tell(command.Stage, int(waiting.child.status))
		break
	}
	r.clock.end()
	<-done
	waiting.pipes.close()
}

func (r *run) start(command shared.Command, stdin, tools bool) (*pipes, *child, error) {
	program, env, err := locate(command)
	if err != nil {
		return nil, nil, err
	}
	pipes, theirs, err := newPipes(stdin, tools)
	if err != nil {
		return nil, nil, err
	}
	defer theirs.close()
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.stopped != "" {
		pipes.close()
		return nil, nil, errStopped
	}
	child, err := r.children.start(program, command, env, theirs)
	if err != nil {
		pipes.close()
		return nil, nil, err
	}
	return pipes, child, nil
}

func (r *run) timeOut() { r.stop(shared.TimedOut) }

func (r *run) finish(ended *shared.Ended, peak int64, before account, began time.Time) {
	r.mutex.Lock()
	r.over = true
	ended.Stopped = r.stopped
	r.mutex.Unlock()
	r.stdin.close()
	r.tools.close()
	after := measure()
	ended.OOMKills = after.oomKills - before.oomKills
	ended.WallS = time.Since(began).Seconds()
	ended.CPUS = max(0, after.cpuS-before.cpuS)
	ended.MemoryBytesPeak = max(peak, after.rssPeak)
	r.budget.tell(ended)
	_ = r.out.WriteJSON(shared.Exit, ended)
}

func (r *run) fail(err error) {
	r.stop(shared.Cancelled)
	r.children.bury()
	_ = r.out.WriteJSON(shared.Failure, shared.Failed{Error: "not_started", Message: err.Error()})
}
