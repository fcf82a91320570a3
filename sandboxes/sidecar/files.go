package main

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"syscall"
)

func (s *sidecar) folderOf(r *http.Request) (folder, bool) {
	switch r.URL.Query().Get("root") {
	case "", "data":
		return s.data, true
	case "program":
		return s.program, true
	default:
		return folder{}, false
	}
}

// putFile takes one file in. Nothing runs yet.
func (s *sidecar) putFile(w http.ResponseWriter, r *http.Request) {
	folder, known := s.folderOf(r)
	switch {
	case !known:
		refuse(w, http.StatusBadRequest, "bad_root", "root must be data or program.")
	case !s.progress.is(isFresh):
		refuse(w, http.StatusConflict, "ran", "Files can be put in only before the run.")
	default:
		if err := folder.put(r.URL.Query().Get("name"), r.Body); err != nil {
			refuseFile(w, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

func refuseFile(w http.ResponseWriter, err error) {
	var errno syscall.Errno
	switch {
	case errors.Is(err, errName):
		refuse(w, http.StatusBadRequest, "bad_name", "The name must be a path below the folder.")
	case errors.As(err, &errno) && (errno == syscall.ENOSPC || errno == syscall.EFBIG || errno == syscall.EDQUOT):
		refuse(w, http.StatusInsufficientStorage, "no_room", "The files do not fit into the sandbox.")
	default:
		refuse(w, http.StatusUnprocessableEntity, "no_file", "The file cannot be written: "+err.Error()+".")
	}
}

// getFile gives one file out. Nothing runs any more.
func (s *sidecar) getFile(w http.ResponseWriter, r *http.Request) {
	folder, known := s.folderOf(r)
	if !known {
		refuse(w, http.StatusBadRequest, "bad_root", "root must be data or program.")
		return
	}
	if !s.progress.is(isFinished) {
		refuse(w, http.StatusConflict, "not_finished", "Files can be taken out only after the run.")
		return
	}
	file, err := folder.open(r.URL.Query().Get("name"), syscall.O_RDONLY, false)
	if err != nil {
		refuse(w, http.StatusNotFound, "no_file", "There is no such regular file: "+err.Error()+".")
		return
	}
	defer file.Close()
	held, err := file.Stat()
	if err != nil {
		refuse(w, http.StatusNotFound, "no_file", "The file cannot be read.")
		return
	}
	if most, err := strconv.ParseInt(r.URL.Query().Get("bytes_max"), 10, 64); err == nil && held.Size() > most {
		refuse(w, http.StatusRequestEntityTooLarge, "too_large", "The file is larger than bytes_max.")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(held.Size(), 10))
	_, _ = io.CopyN(w, file, held.Size())
}

type changes struct {
	Before []found `json:"before"`
	After  []found `json:"after"`
}

// changes tells what the working directory held before the run and what it holds now.
func (s *sidecar) changes(w http.ResponseWriter, _ *http.Request) {
	if !s.progress.is(isFinished) {
		refuse(w, http.StatusConflict, "not_finished", "Changes are known only after the run.")
		return
	}
	answer(w, http.StatusOK, changes{s.progress.before, s.data.find()})
}
