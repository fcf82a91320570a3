package main

import (
	"encoding/json"
	"net/http"

	"millrace/sandboxes/shared"
)

const claimBytesMax = 4096

type claimed struct {
	Mode string `json:"mode"`
	Warm bool   `json:"warm"`
	Why  string `json:"why"`
	shared.Greeting
}

// claim gives this pod to one holder for good: the last word on single use is the pod's own.
func (s *sidecar) claim(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Holder string `json:"holder"`
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, claimBytesMax)).Decode(&asked)
	if err != nil || asked.Holder == "" {
		refuse(w, http.StatusBadRequest, "bad_claim", "A claim names its holder.")
		return
	}
	state, greeting := s.link.readiness()
	switch {
	case !state.Ready || s.progress.is(isDraining):
		refuse(w, http.StatusServiceUnavailable, "not_ready", "This pod is not ready: "+state.Why+".")
	case !s.progress.claim(asked.Holder):
		refuse(w, http.StatusConflict, "claimed", "This pod is another's.")
	default:
		mode := "agent"
		if s.config.nsenter {
			mode = "nsenter"
		}
		answer(w, http.StatusOK, claimed{mode, state.Warm, state.Why, greeting})
	}
}
