package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"millrace/sandboxes/shared"
)

const (
	lookPause  = 20 * time.Millisecond
	idleFactor = 5 // a look at very many processes is followed by a longer pause
	tmpfsMagic = 0x01021994
)

var memoryFolders = []string{"/mnt/data", "/program", "/tmp", "/dev/shm"}

// watch looks now and then at what all processes and files in memory hold together, and how many there are.
type watch struct {
	limits shared.Limits
	stopIt func(string)
	quit   chan struct{}
	peak   chan int64
}

func startWatch(limits shared.Limits, stop func(string)) *watch {
	w := &watch{limits: limits, stopIt: stop, quit: make(chan struct{}), peak: make(chan int64, 1)}
	go w.work()
	return w
}

// stop ends it and returns the most memory it saw in use.
func (w *watch) stop() int64 {
	close(w.quit)
	return <-w.peak
}

func (w *watch) work() {
	var peak int64
	pause := lookPause
	for {
		select {
		case <-w.quit:
			w.peak <- peak
			return
		case <-time.After(pause):
			began := time.Now()
			peak = max(peak, w.look())
			pause = max(lookPause, idleFactor*time.Since(began))
		}
	}
}

// look returns the memory in use, after having stopped what is over a limit.
func (w *watch) look() int64 {
	files := filesInMemory()
	held, tasks := inUse("status", "RssAnon:", "RssShmem:", files)
	if over(held, w.limits.MemoryBytesMax) {
		// shared pages were counted once for each process; now exactly
		held, _ = inUse("smaps_rollup", "Pss_Anon:", "Pss_Shmem:", files)
		if over(held, w.limits.MemoryBytesMax) {
			w.stopIt(shared.OutOfMemory)
		}
	}
	if w.limits.PidsMax > 0 && tasks > w.limits.PidsMax {
		w.stopIt(shared.TooMany)
	}
	return held
}

func over(held, limit int64) bool { return limit > 0 && held > limit }

// inUse returns what all processes hold beside pages of files on disk, and how many threads they have. Shared
// pages are mostly those of files in memory, which are counted already.
func inUse(source, private, common string, files int64) (int64, int) {
	var anonymous, mapped int64
	tasks := 0
	for _, pid := range others() {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/" + source)
		if err != nil {
			continue // it is gone
		}
		anonymous += field(string(text), private) << 10
		mapped += field(string(text), common) << 10
		tasks += int(field(string(text), "Threads:"))
	}
	return anonymous + max(mapped, files), tasks
}

func field(text, name string) int64 {
	_, rest, found := strings.Cut(text, name)
	if !found {
		return 0
	}
	words := strings.Fields(rest[:min(len(rest), 40)])
	if len(words) == 0 {
		return 0
	}
	number, _ := strconv.ParseInt(words[0], 10, 64)
	return number
}

// filesInMemory is what the container's folders in memory hold.
func filesInMemory() int64 {
	var sum int64
	for _, folder := range memoryFolders {
		var held syscall.Statfs_t
		if err := syscall.Statfs(folder, &held); err == nil && held.Type == tmpfsMagic {
			sum += int64(held.Blocks-held.Bfree) * held.Bsize
		}
	}
	return sum
}
