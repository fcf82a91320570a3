package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"net"
	"sync"

	"millrace/sandboxes/shared"
)

// link is the one connection to the agent.
type link struct {
	frames chan shared.Frame // of the run, at the pace at which they are taken
	lost   chan struct{}     // closed when the agent is gone
	taken  func(int)
	tools  sync.Mutex // one answer at a time

	mutex      sync.Mutex
	connection net.Conn
	out        *shared.Writer
	greeting   shared.Greeting
	connected  bool
	ready      bool
	warm       bool
	why        string
}

func newLink() *link {
	return &link{frames: make(chan shared.Frame), lost: make(chan struct{})}
}

// serve speaks over a connection that the agent has greeted on, until it ends.
func (l *link) serve(connection net.Conn, greeting shared.Greeting, in *bufio.Reader) {
	l.mutex.Lock()
	l.connection, l.out, l.greeting, l.connected = connection, shared.NewWriter(connection), greeting, true
	l.mutex.Unlock()
	go func() {
		defer l.lose()
		for {
			frame, err := shared.Read(in)
			if err != nil {
				return
			}
			l.take(frame)
		}
	}()
}

func (l *link) take(frame shared.Frame) {
	switch frame.Kind {
	case shared.Waiting:
		var told shared.Readiness
		_ = json.Unmarshal(frame.Payload, &told)
		l.settle(told.Ready, told.Why)
	case shared.Taken:
		if len(frame.Payload) == 4 {
			l.taken(int(binary.BigEndian.Uint32(frame.Payload)))
		}
	default:
		l.frames <- frame
	}
}

// settle says that the pod is ready, with a runtime that waits or without.
func (l *link) settle(warm bool, why string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.ready, l.warm, l.why = true, warm, why
}

func (l *link) lose() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.ready, l.connected, l.warm, l.why = false, false, false, "the agent is gone"
	close(l.lost)
}

// send writes one frame; one that cannot be sent is lost with the agent.
func (l *link) send(kind byte, payload []byte) {
	l.mutex.Lock()
	out := l.out
	l.mutex.Unlock()
	if out != nil {
		_ = out.Write(kind, payload)
	}
}

type readiness struct {
	Ready bool   `json:"ready"`
	Warm  bool   `json:"warm"`
	Why   string `json:"why"`
}

func (l *link) readiness() (readiness, shared.Greeting) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return readiness{l.ready, l.warm, l.why}, l.greeting
}
