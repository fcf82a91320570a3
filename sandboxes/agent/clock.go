package main

import (
	"sync"
	"time"

	"millrace/sandboxes/shared"
)

// clock holds a stage to its time. It stands still while the code waits for tools, and begins anew after.
type clock struct {
	mutex   sync.Mutex
	timer   *time.Timer
	stage   string
	began   time.Time
	limit   time.Duration
	expire  func()
	waiting int // calls of tools without an answer
}

// begin starts the clock of a command; commands of one stage share their time.
func (c *clock) begin(command shared.Command, expire func()) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.stage != command.Stage {
		c.stage, c.began = command.Stage, time.Now()
	}
	c.limit, c.expire = time.Duration(command.TimeoutS*float64(time.Second)), expire
	c.set(c.limit - time.Since(c.began))
}

// end stops it.
func (c *clock) end() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.clear()
}

// wait counts calls that want an answer, and with a negative number the answers.
func (c *clock) wait(calls int) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	before := c.waiting
	c.waiting = max(0, before+calls)
	switch {
	case c.waiting > 0:
		c.clear()
	case before > 0 && c.expire != nil:
		c.set(c.limit)
	}
}

func (c *clock) set(left time.Duration) {
	c.clear()
	if c.limit > 0 && c.waiting == 0 {
		c.timer = time.AfterFunc(left, c.expire)
	}
}

func (c *clock) clear() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}
