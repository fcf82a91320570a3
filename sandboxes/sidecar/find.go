package main

import (
	"errors"
	"os"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"
)

const (
	entriesMax = 10_000
	oPath      = 0x200000
)

// found is one thing below the working directory that is no folder: a regular file with what tells it from what
// it was, or a reason why it is not collected.
type found struct {
	Name       string `json:"name"`
	SizeBytes  int64  `json:"size_bytes"`
	Inode      uint64 `json:"inode"`
	ModifiedNs int64  `json:"modified_ns"`
	ChangedNs  int64  `json:"changed_ns"`
	WhyNot     string `json:"why_not"`
}

// search lists a folder, not more of it than anybody wants to see.
type search struct {
	folder  folder
	entries int
	waiting []string
	found   []found
}

// find lists everything below the folder that is no folder, sorted by name.
func (f folder) find() []found {
	s := &search{folder: f, waiting: []string{""}, found: []found{}}
	for len(s.waiting) > 0 && s.entries <= entriesMax {
		inner := s.waiting[len(s.waiting)-1]
		s.waiting = s.waiting[:len(s.waiting)-1]
		s.list(inner)
	}
	if s.entries > entriesMax {
		s.leaveOut("...", "more than "+strconv.Itoa(entriesMax)+" entries")
	}
	sort.Slice(s.found, func(i, j int) bool { return s.found[i].Name < s.found[j].Name })
	return s.found
}

func (s *search) leaveOut(name, why string) {
	s.found = append(s.found, found{Name: strings.ToValidUTF8(name, "\uFFFD"), WhyNot: why})
}

func (s *search) list(inner string) {
	if strings.Count(inner, "/") >= levelsMax-1 {
		s.leaveOut(inner, "deeper than "+strconv.Itoa(levelsMax)+" levels")
		return
	}
	fd, err := s.folder.descend(inner, false)
	if err != nil {
		s.leaveOut(inner, "cannot be opened: "+reason(err))
		return
	}
	file := os.NewFile(uintptr(fd), inner)
	defer file.Close()
	for s.entries <= entriesMax {
		names, err := file.Readdirnames(256)
		for _, name := range names {
			s.entries++
			s.look(fd, inner, name)
		}
		if err != nil {
			return // most often io.EOF
		}
	}
}

func (s *search) look(fd int, inner, name string) {
	path := name
	if inner != "" {
		path = inner + "/" + name
	}
	held, err := look(fd, name)
	switch {
	case !utf8.ValidString(path):
		s.leaveOut(path, "its name is no UTF-8")
	case err != nil:
		s.leaveOut(path, "cannot be looked at: "+reason(err))
	case held.Mode&syscall.S_IFMT == syscall.S_IFDIR:
		s.waiting = append(s.waiting, path)
	case held.Mode&syscall.S_IFMT != syscall.S_IFREG:
		s.leaveOut(path, "no regular file")
	case held.Mode&syscall.S_IRUSR == 0:
		s.leaveOut(path, "its permissions forbid reading")
	default:
		s.found = append(s.found, found{
			Name: path, SizeBytes: held.Size, Inode: held.Ino,
			ModifiedNs: held.Mtim.Nano(), ChangedNs: held.Ctim.Nano(),
		})
	}
}

// look is lstat below an open folder.
func look(fd int, name string) (syscall.Stat_t, error) {
	var held syscall.Stat_t
	entry, err := syscall.Openat(fd, name, oPath|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
	if err != nil {
		return held, err
	}
	defer syscall.Close(entry)
	return held, syscall.Fstat(entry, &held)
}

// reason is an error without names, which are the code's own.
func reason(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return "it changed meanwhile"
}
