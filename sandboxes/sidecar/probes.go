package main

import "net/http"

func (s *sidecar) healthz(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }

// readyz says whether a run may come.
func (s *sidecar) readyz(w http.ResponseWriter, _ *http.Request) {
	state, _ := s.link.readiness()
	if s.progress.is(isDraining) {
		state = readiness{Why: "it is drained"}
	}
	status := http.StatusOK
	if !state.Ready {
		status = http.StatusServiceUnavailable
	}
	answer(w, status, state)
}
