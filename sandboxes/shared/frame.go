// Package shared is what agent and sidecar have in common: the frames of their connection, and how both
// stay up while hostile code uses up what there is only so much of.
package shared

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// Kinds of frames from the sidecar to the agent.
const (
	Key    = 'K' // the key that install left; the first frame
	Ahead  = 'A' // Command: start a runtime that waits
	Run    = 'R' // Order
	Input  = 'i' // bytes for stdin, never more than Window unacknowledged
	EOF    = 'E' // stdin ends after what came
	Tools  = 't' // bytes of the tool channel, in both directions
	Cancel = 'c'
	Drain  = 'D' // kill all; the agent ends
)

// Kinds of frames from the agent to the sidecar; those in lower case go on to the handler as they are.
const (
	Hello   = 'H' // Greeting
	Waiting = 'W' // Readiness of what Ahead started
	Taken   = 'T' // four bytes: so much of Input found its way
	Stdout  = 'o'
	Stderr  = 'e'
	Exit    = 'x' // Ended; the last of a run
	Failure = 'f' // Failed; the last of a run
	Beat    = 'h' // made by the sidecar
)

const (
	// ChunkBytes is the most that one frame of output or input carries.
	ChunkBytes = 64 << 10
	// Window is how much input may be on its way.
	Window = 256 << 10
	// frameBytesMax bounds what a reader allocates on the other side's word.
	frameBytesMax = 8 << 20
	headBytes     = 5
)

// Frame is one message.
type Frame struct {
	Kind    byte
	Payload []byte
}

// Writer writes whole frames, from any goroutine.
type Writer struct {
	mutex  sync.Mutex
	to     io.Writer
	buffer []byte
}

// NewWriter writes to `to`.
func NewWriter(to io.Writer) *Writer { return &Writer{to: to} }

// Write sends one frame in one piece. It waits while the other side does not read.
func (w *Writer) Write(kind byte, payload []byte) error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.buffer = append(w.buffer[:0], kind)
	w.buffer = binary.BigEndian.AppendUint32(w.buffer, uint32(len(payload)))
	w.buffer = append(w.buffer, payload...)
	_, err := w.to.Write(w.buffer)
	return err
}

// WriteJSON sends a value.
func (w *Writer) WriteJSON(kind byte, value any) error {
	payload, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return w.Write(kind, payload)
}

// Read takes one frame. Its payload belongs to the caller.
func Read(from io.Reader) (Frame, error) {
	var head [headBytes]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return Frame{}, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > frameBytesMax {
		return Frame{}, fmt.Errorf("a frame of %d bytes", size)
	}
	payload := make([]byte, size)
	_, err := io.ReadFull(from, payload)
	return Frame{Kind: head[0], Payload: payload}, err
}
