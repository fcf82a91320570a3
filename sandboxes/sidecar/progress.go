package main

import "sync"

// progress is how far this pod's one execution has come.
type progress struct {
	mutex    sync.Mutex
	holder   string
	running  bool
	finished bool
	draining bool
	before   []found
}

// claim gives the pod to a holder, once; again to the same.
func (p *progress) claim(holder string) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.draining || p.holder != "" && p.holder != holder {
		return false
	}
	p.holder = holder
	return true
}

// begin says whether the run may begin: it is the first.
func (p *progress) begin() bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.running || p.finished || p.draining {
		return false
	}
	p.running = true
	return true
}

func (p *progress) finish() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.running, p.finished = false, true
}

func (p *progress) drain() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.draining = true
}

func (p *progress) is(state func(*progress) bool) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return state(p)
}

func isUnused(p *progress) bool   { return !p.running }
func isFresh(p *progress) bool    { return !p.running && !p.finished && !p.draining }
func isFinished(p *progress) bool { return p.finished }
func isDraining(p *progress) bool { return p.draining }
