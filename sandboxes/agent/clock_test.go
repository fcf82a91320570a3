package main

import (
	"testing"
	"time"

	"millrace/sandboxes/shared"
)

func TestTheClockStandsStillWhileToolsAreWaitedFor(t *testing.T) {
	expired := make(chan struct{})
	c := &clock{}
	c.wait(2) // calls may come before their command's clock
	c.begin(shared.Command{Stage: "run", TimeoutS: 0.01}, func() { close(expired) })
	select {
	case <-expired:
		t.Fatal("time ran while calls were waiting")
	case <-time.After(100 * time.Millisecond):
	}
	c.wait(-1)
	c.wait(-1)
	<-expired
}

func TestCommandsOfAStageShareItsTime(t *testing.T) {
	expired := make(chan struct{})
	c := &clock{}
	c.begin(shared.Command{Stage: "build", TimeoutS: 3600}, func() { t.Error("the first one's expired") })
	c.end()
	c.began = c.began.Add(-2 * time.Hour)
	c.begin(shared.Command{Stage: "build", TimeoutS: 3600}, func() { close(expired) })
	<-expired
}
