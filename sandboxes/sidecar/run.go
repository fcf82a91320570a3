package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"millrace/sandboxes/shared"
)

const (
	runBytesMax   = 64 << 20
	beatPause     = time.Second
	frameHeadSize = 9
)

// asked is a request to run.
type asked struct {
	shared.Order
	Files []struct {
		Name    string `json:"name"`
		Content []byte `json:"content"`
	} `json:"files"`
	Stdin         []byte `json:"stdin"`
	KeepStdinOpen bool   `json:"keep_stdin_open"`
}

// run has the agent run what is asked and streams the frames, at the reader's pace, until the last.
func (s *sidecar) run(w http.ResponseWriter, r *http.Request) {
	var wanted asked
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, runBytesMax)).Decode(&wanted); err != nil {
		refuse(w, http.StatusBadRequest, "bad_run", "This is no order to run: "+err.Error()+".")
		return
	}
	if fault := faultOf(wanted); fault != "" {
		refuse(w, http.StatusBadRequest, "bad_run", fault)
		return
	}
	if state, _ := s.link.readiness(); !state.Ready {
		refuse(w, http.StatusServiceUnavailable, "not_ready", "This pod is not ready: "+state.Why+".")
		return
	}
	if !s.progress.begin() {
		refuse(w, http.StatusConflict, "ran", "A pod runs once.")
		return
	}
	for _, file := range wanted.Files {
		if err := s.program.put(file.Name, bytes.NewReader(file.Content)); err != nil {
			s.progress.finish()
			refuseFile(w, err)
			return
		}
	}
	s.progress.before = s.data.find()
	order, _ := json.Marshal(wanted.Order)
	s.link.send(shared.Run, order)
	s.input.begin(wanted.Stdin, wanted.KeepStdinOpen)
	s.relay(w, r)
}

func faultOf(wanted asked) string {
	if len(wanted.Commands) == 0 {
		return "There are no commands."
	}
	for _, command := range wanted.Commands {
		if len(command.Argv) == 0 {
			return "A command is empty."
		}
	}
	return ""
}

// relay passes frames on. When nobody reads any more everything is killed, and the rest thrown away.
func (s *sidecar) relay(w http.ResponseWriter, r *http.Request) {
	defer s.progress.finish()
	defer s.input.end()
	w.Header().Set("Content-Type", "application/octet-stream")
	to := &numbered{to: w, flush: http.NewResponseController(w).Flush}
	_ = to.flush()
	beat := time.NewTicker(beatPause)
	defer beat.Stop()
	gone := r.Context().Done()
	for {
		select {
		case frame := <-s.link.frames:
			if to.write(frame.Kind, frame.Payload) != nil {
				s.link.send(shared.Cancel, nil)
			}
			if frame.Kind == shared.Exit || frame.Kind == shared.Failure {
				return
			}
			beat.Reset(beatPause)
		case <-beat.C:
			_ = to.write(shared.Beat, nil)
		case <-gone:
			gone = nil
			s.link.send(shared.Cancel, nil)
		case <-s.link.lost:
			payload, _ := json.Marshal(shared.Failed{Error: "agent_lost", Message: "The agent is gone."})
			_ = to.write(shared.Failure, payload)
			return
		}
	}
}

// numbered writes frames as handlers read them.
type numbered struct {
	to     io.Writer
	flush  func() error
	number uint32
}

func (n *numbered) write(kind byte, payload []byte) error {
	n.number++
	frame := make([]byte, 0, frameHeadSize+len(payload))
	frame = append(frame, kind)
	frame = binary.BigEndian.AppendUint32(frame, n.number)
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(payload)))
	if _, err := n.to.Write(append(frame, payload...)); err != nil {
		return err
	}
	return n.flush()
}
