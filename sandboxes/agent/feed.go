package main

import (
	"encoding/binary"
	"os"
	"sync"
	"sync/atomic"

	"millrace/sandboxes/shared"
)

// feed writes to a pipe of the code, whether that reads or not. Nobody who brings bytes waits here.
type feed struct {
	mutex  sync.Mutex
	news   *sync.Cond
	chunks [][]byte
	eof    bool
	over   bool
	file   *os.File
	taken  func(int) // told how many bytes found their way; may be nil
}

func newFeed(taken func(int)) *feed {
	f := &feed{taken: taken}
	f.news = sync.NewCond(&f.mutex)
	return f
}

// write queues bytes; after the end they are dropped.
func (f *feed) write(data []byte) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if !f.over && !f.eof {
		f.chunks = append(f.chunks, data)
		f.news.Signal()
	}
}

// end closes the pipe once all that is queued is written.
func (f *feed) end() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.eof = true
	f.news.Signal()
}

// open gives it the pipe; nil is none.
func (f *feed) open(file *os.File) {
	if file == nil {
		return
	}
	f.file = file
	go f.work()
}

// close forgets the rest and lets go of the pipe.
func (f *feed) close() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.over = true
	f.chunks = nil
	f.news.Signal()
	if f.file != nil {
		f.file.Close()
	}
}

func (f *feed) work() {
	for {
		chunk, more := f.next()
		if !more {
			f.close()
			return
		}
		if _, err := f.file.Write(chunk); err != nil {
			f.close() // nobody reads any more
			return
		}
		if f.taken != nil {
			f.taken(len(chunk))
		}
	}
}

func (f *feed) next() ([]byte, bool) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	for len(f.chunks) == 0 && !f.eof && !f.over {
		f.news.Wait()
	}
	if len(f.chunks) == 0 {
		return nil, false
	}
	chunk := f.chunks[0]
	f.chunks = f.chunks[1:]
	return chunk, true
}

// acknowledge returns what tells the sidecar of taken bytes, without ever making who calls it wait for output.
func acknowledge(out *shared.Writer) func(int) {
	var sum atomic.Int64
	news := make(chan struct{}, 1)
	go func() {
		for range news {
			if size := sum.Swap(0); size > 0 {
				_ = out.Write(shared.Taken, binary.BigEndian.AppendUint32(nil, uint32(size)))
			}
		}
	}()
	return func(size int) {
		sum.Add(int64(size))
		select {
		case news <- struct{}{}:
		default:
		}
	}
}
