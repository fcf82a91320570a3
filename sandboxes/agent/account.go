package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

const ticksPerSecond = 100 // of /proc, on every architecture that Go runs on

// account is what all processes of the code have used so far.
type account struct {
	cpuS     float64
	rssPeak  int64
	oomKills int
}

// measure counts the dead by the kernel's account of our children, and what the living used beside it.
func measure() account {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_CHILDREN, &used)
	cpu := float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
	for _, pid := range others() {
		if fields := stat(pid); fields != nil {
			for place := statUserTicks; place <= statChildrenTicks; place++ {
				ticks, _ := strconv.Atoi(fields[place])
				cpu += float64(ticks) / ticksPerSecond
			}
		}
	}
	return account{cpuS: cpu, rssPeak: used.Maxrss << 10, oomKills: oomKills()}
}

// oomKills is how often the kernel killed for memory in this container, as far as it can be read.
func oomKills() int {
	for _, place := range []string{"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"} {
		text, err := os.ReadFile(place)
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(text), "\n") {
			if count, found := strings.CutPrefix(line, "oom_kill "); found {
				number, _ := strconv.Atoi(count)
				return number
			}
		}
	}
	return 0
}
