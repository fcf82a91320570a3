package main

import (
	"io"
	"net/http"
	"time"

	"millrace/sandboxes/shared"
)

const drainTimeout = 2 * time.Second

// cancel has everything killed; before the run it sees to it that nothing will be started.
func (s *sidecar) cancel(w http.ResponseWriter, _ *http.Request) {
	s.link.send(shared.Cancel, nil)
	w.WriteHeader(http.StatusNoContent)
}

// drainNow ends this pod's usefulness.
func (s *sidecar) drainNow(w http.ResponseWriter, _ *http.Request) {
	s.drain()
	w.WriteHeader(http.StatusNoContent)
}

// drain has the agent kill everything and end, and waits for that.
func (s *sidecar) drain() {
	s.progress.drain()
	s.link.send(shared.Drain, nil)
	if s.progress.is(isUnused) {
		go s.discard()
	}
	select {
	case <-s.link.lost:
	case <-time.After(drainTimeout):
	}
}

// discard takes what nobody waits for, lest the agent's end hide behind it.
func (s *sidecar) discard() {
	for {
		select {
		case <-s.link.frames:
		case <-s.link.lost:
			return
		}
	}
}

// readFull fills the buffer as far as there is something.
func readFull(from io.Reader, buffer []byte) (int, error) {
	size, err := io.ReadFull(from, buffer)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return size, err
}
