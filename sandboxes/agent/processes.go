package main

import (
	"os"
	"strconv"
	"strings"
)

// others lists the processes that are the code's: all but us, or where we are not process 1 our descendants.
func others() []int {
	if os.Getpid() != 1 {
		return descendants()
	}
	pids := processes()
	for i, pid := range pids {
		if pid == 1 {
			return append(pids[:i], pids[i+1:]...)
		}
	}
	return pids
}

// descendants lists our children and theirs.
func descendants() []int {
	parents := map[int][]int{}
	for _, pid := range processes() {
		if fields := stat(pid); fields != nil {
			parent, _ := strconv.Atoi(fields[statParent])
			parents[parent] = append(parents[parent], pid)
		}
	}
	found := parents[os.Getpid()]
	for i := 0; i < len(found); i++ {
		found = append(found, parents[found[i]]...)
	}
	return found
}

// processes lists the ids of all processes that can be seen.
func processes() []int {
	folder, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer folder.Close()
	names, _ := folder.Readdirnames(-1)
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Places in what follows the name in /proc/PID/stat.
const (
	statParent        = 1
	statUserTicks     = 11
	statSystemTicks   = 12
	statChildrenTicks = 14 // user and system, of children that were waited for
	statThreads       = 17
)

func stat(pid int) []string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) <= statThreads {
		return nil
	}
	return fields
}
