package main

import (
	"bytes"

	"millrace/sandboxes/shared"
)

// tools relays between the code's calls of tools and whoever answers them: a line for each call, a line back.
type tools struct {
	out     *shared.Writer
	clock   *clock
	results *feed
}

// open begins to relay, where the command was given descriptors for it.
func (t *tools) open(pipes *pipes) {
	if pipes.calls == nil {
		return
	}
	t.results.open(pipes.results)
	go t.relay(pipes)
}

// answer passes results on.
func (t *tools) answer(lines []byte) {
	t.results.write(lines)
	t.clock.wait(-bytes.Count(lines, []byte("\n")))
}

func (t *tools) close() { t.results.close() }

func (t *tools) relay(pipes *pipes) {
	buffer := make([]byte, shared.ChunkBytes)
	for {
		size, err := pipes.calls.Read(buffer)
		if err != nil {
			return
		}
		t.clock.wait(bytes.Count(buffer[:size], []byte("\n")))
		for _, each := range pipes.output {
			each.flush() // what was printed before a call is seen before it
		}
		_ = t.out.Write(shared.Tools, buffer[:size])
	}
}
