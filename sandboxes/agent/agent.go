package main

import (
	"encoding/json"
	"fmt"
	"net"
	"runtime"

	"millrace/sandboxes/shared"
)

// agent is one connection's worth of work: at most one run.
type agent struct {
	connection net.Conn
	out        *shared.Writer
	children   *children
	ahead      *ahead
	run        *run
}

func newAgent(connection net.Conn, children *children) *agent {
	out := shared.NewWriter(connection)
	return &agent{connection: connection, out: out, children: children, run: newRun(out, children)}
}

// obey takes orders until the connection ends. Nothing in here waits for the code.
func (a *agent) obey() error {
	greeting := shared.Greeting{Machine: machine(), Version: shared.Version}
	if err := a.out.WriteJSON(shared.Hello, greeting); err != nil {
		return err
	}
	for {
		frame, err := shared.Read(a.connection)
		if err != nil {
			return nil // the sidecar is gone, and so are we
		}
		if err := a.carryOut(frame); err != nil {
			return err
		}
		if frame.Kind == shared.Drain {
			return nil
		}
	}
}

func (a *agent) carryOut(frame shared.Frame) error {
	switch frame.Kind {
	case shared.Ahead:
		var command shared.Command
		if err := json.Unmarshal(frame.Payload, &command); err != nil {
			return err
		}
		a.ahead = startAhead(command, a.out, a.children)
	case shared.Run:
		var order shared.Order
		if err := json.Unmarshal(frame.Payload, &order); err != nil {
			return err
		}
		go a.run.carryOut(order, a.ahead)
	case shared.Input:
		a.run.stdin.write(frame.Payload)
	case shared.EOF:
		a.run.stdin.end()
	case shared.Tools:
		a.run.tools.answer(frame.Payload)
	case shared.Cancel, shared.Drain:
		a.run.stop(shared.Cancelled)
	default:
		return fmt.Errorf("a frame of kind %q", frame.Kind)
	}
	return nil
}

// machine says what `uname -m` does.
func machine() string {
	if name, known := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]; known {
		return name
	}
	return runtime.GOARCH
}
