package main

import (
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	nameBytesMax = 4096
	levelsMax    = 32
	backdated    = time.Minute
	entering     = syscall.O_RDONLY | syscall.O_DIRECTORY | syscall.O_NOFOLLOW | syscall.O_CLOEXEC
)

var (
	errName = errors.New("the name leads elsewhere, or nowhere")
	errFile = errors.New("this is no regular file")
)

// folder is one that hostile code may have furnished. Everything in it is opened step by step, following no
// link: openat2 would do the same at once, but is not everywhere.
type folder struct{ fd int }

func openFolder(place string) (folder, error) {
	fd, err := syscall.Open(place, entering, 0)
	if err != nil {
		return folder{}, &os.PathError{Op: "open", Path: place, Err: err}
	}
	return folder{fd}, nil
}

// put writes a file, making its parents. What was there is written over in place.
func (f folder) put(name string, content io.Reader) error {
	file, err := f.open(name, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_TRUNC, true)
	if err != nil {
		return err
	}
	if content != nil {
		if _, err := io.Copy(file, content); err != nil {
			file.Close()
			return err
		}
	}
	backdate(file)
	return file.Close()
}

// open opens a regular file.
func (f folder) open(name string, flags int, make bool) (*os.File, error) {
	if !isBelow(name) {
		return nil, errName
	}
	at := strings.LastIndexByte(name, '/') + 1
	inner, err := f.descend(strings.TrimSuffix(name[:at], "/"), make)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(inner)
	flags |= syscall.O_NOFOLLOW | syscall.O_NONBLOCK | syscall.O_NOCTTY | syscall.O_CLOEXEC
	fd, err := syscall.Openat(inner, name[at:], flags, 0o644)
	if err != nil {
		return nil, err
	}
	var held syscall.Stat_t
	if err := syscall.Fstat(fd, &held); err != nil || held.Mode&syscall.S_IFMT != syscall.S_IFREG {
		syscall.Close(fd)
		return nil, errFile
	}
	return os.NewFile(uintptr(fd), name), nil
}

// descend opens the folder `name` below this one, itself if that is empty; the caller closes it.
func (f folder) descend(name string, make bool) (int, error) {
	fd, err := syscall.Openat(f.fd, ".", entering, 0)
	if err != nil || name == "" {
		return fd, err
	}
	for _, part := range strings.Split(name, "/") {
		if make {
			if err := syscall.Mkdirat(fd, part, 0o755); err != nil && err != syscall.EEXIST {
				syscall.Close(fd)
				return -1, err
			}
		}
		inner, err := syscall.Openat(fd, part, entering, 0)
		syscall.Close(fd)
		if err != nil {
			return -1, err
		}
		fd = inner
	}
	return fd, nil
}

func isBelow(name string) bool {
	parts := strings.Split(name, "/")
	if len(name) > nameBytesMax || len(parts) > levelsMax || strings.ContainsRune(name, 0) {
		return false
	}
	for _, part := range parts {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

// backdate makes the next write show, even one of the same size within the clock's granularity.
func backdate(file *os.File) {
	past := syscall.NsecToTimeval(time.Now().Add(-backdated).UnixNano())
	if source, err := file.SyscallConn(); err == nil {
		_ = source.Control(func(fd uintptr) { _ = syscall.Futimes(int(fd), []syscall.Timeval{past, past}) })
	}
}
