package main

import (
	"context"
	"net/http"
	"sync"

	"millrace/sandboxes/shared"
)

const queuedBytesMax = 4 << 20

// input queues what shall go to the code's stdin, until there is one and then until it has room.
type input struct {
	link  *link
	mutex sync.Mutex
	news  *sync.Cond
	queue [][]byte
	size  int
	way   int // bytes on their way to the code
	eof   bool
	over  bool
}

func newInput(link *link) *input {
	i := &input{link: link}
	i.news = sync.NewCond(&i.mutex)
	link.taken = i.taken
	return i
}

// add queues bytes; it waits while too much is queued. Nothing happens after the end.
func (i *input) add(ctx context.Context, data []byte, eof bool) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	stop := context.AfterFunc(ctx, i.news.Broadcast)
	defer stop()
	for i.size >= queuedBytesMax && !i.over && ctx.Err() == nil {
		i.news.Wait()
	}
	if i.over || i.eof || ctx.Err() != nil {
		return
	}
	i.queue, i.size, i.eof = append(i.queue, data), i.size+len(data), eof
	i.news.Broadcast()
}

// begin sends what the program starts with, then all that came early unless nothing shall follow.
func (i *input) begin(first []byte, more bool) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if !more {
		i.queue, i.size, i.eof = nil, 0, true
	}
	i.queue, i.size = append(chunks(first), i.queue...), i.size+len(first)
	go i.work()
}

// end forgets what is left.
func (i *input) end() {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	i.over, i.queue, i.size = true, nil, 0
	i.news.Broadcast()
}

func (i *input) taken(size int) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	i.way -= size
	i.news.Broadcast()
}

func (i *input) work() {
	for {
		chunk, more := i.next()
		if len(chunk) > 0 {
			i.link.send(shared.Input, chunk)
		}
		if !more {
			i.link.send(shared.EOF, nil)
			return
		}
	}
}

func (i *input) next() ([]byte, bool) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	for !i.over && (len(i.queue) == 0 && !i.eof || len(i.queue) > 0 && i.way+len(i.queue[0]) > shared.Window) {
		i.news.Wait()
	}
	if i.over || len(i.queue) == 0 {
		return nil, false
	}
	chunk := i.queue[0]
	i.queue, i.size, i.way = i.queue[1:], i.size-len(chunk), i.way+len(chunk)
	i.news.Broadcast()
	return chunk, true
}

func chunks(data []byte) [][]byte {
	var cut [][]byte
	for len(data) > 0 {
		size := min(len(data), shared.ChunkBytes)
		cut, data = append(cut, data[:size]), data[size:]
	}
	return cut
}

// sendInput takes bytes for stdin.
func (s *sidecar) sendInput(w http.ResponseWriter, r *http.Request) {
	for {
		chunk := make([]byte, shared.ChunkBytes)
		size, err := readFull(r.Body, chunk)
		if size > 0 {
			s.input.add(r.Context(), chunk[:size], false)
		}
		if err != nil {
			break
		}
	}
	if r.URL.Query().Get("eof") == "1" {
		s.input.add(r.Context(), nil, true)
	}
	w.WriteHeader(http.StatusNoContent)
}

// toolResults takes bytes for the code's tool channel. Several requests do not mix.
func (s *sidecar) toolResults(w http.ResponseWriter, r *http.Request) {
	s.link.tools.Lock()
	defer s.link.tools.Unlock()
	for {
		chunk := make([]byte, shared.ChunkBytes)
		size, err := readFull(r.Body, chunk)
		if size > 0 {
			s.link.send(shared.Tools, chunk[:size])
		}
		if err != nil {
			break
		}
	}
	w.WriteHeader(http.StatusNoContent)
}
