package main

import (
	"encoding/json"
	"net/http"

	"millrace/sandboxes/shared"
)

func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, shared.Failed{Error: code, Message: message})
}
