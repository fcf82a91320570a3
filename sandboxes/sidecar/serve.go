package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"millrace/sandboxes/shared"
)

const (
	headTimeout  = 10 * time.Second
	headBytesMax = 16 << 10
	stopTimeout  = 2 * time.Second
	dataPlace    = "/mnt/data"
	programPlace = "/program"
)

// sidecar is one pod's service to one execution.
type sidecar struct {
	config   config
	data     folder
	program  folder
	link     *link
	input    *input
	progress progress
}

func serve(config config) error {
	data, err := openFolder(dataPlace)
	if err != nil {
		return err
	}
	program, err := openFolder(programPlace)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", ":"+config.port)
	if err != nil {
		return err
	}
	link := newLink()
	s := &sidecar{config: config, data: data, program: program, link: link, input: newInput(link)}
	server := &http.Server{Handler: s.routes(), ReadHeaderTimeout: headTimeout, MaxHeaderBytes: headBytesMax}
	go s.reachAgent()
	go func() {
		<-shared.Signals(syscall.SIGTERM, os.Interrupt)
		s.drain()
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		_ = server.Shutdown(ctx)
	}()
	if err := server.Serve(newDoor(listener, config.allowLocal)); err != http.ErrServerClosed {
		return err
	}
	return nil
}

func (s *sidecar) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", s.healthz)
	mux.HandleFunc("/readyz", s.readyz)
	for path, methods := range map[string]map[string]http.HandlerFunc{
		"/v1/claim":        {http.MethodPost: s.claim},
		"/v1/file":         {http.MethodPut: s.putFile, http.MethodGet: s.getFile},
		"/v1/run":          {http.MethodPost: s.run},
		"/v1/input":        {http.MethodPost: s.sendInput},
		"/v1/tool-results": {http.MethodPost: s.toolResults},
		"/v1/cancel":       {http.MethodPost: s.cancel},
		"/v1/changes":      {http.MethodGet: s.changes},
		"/v1/drain":        {http.MethodPost: s.drainNow},
	} {
		mux.HandleFunc(path, s.guarded(methods))
	}
	return mux
}

// guarded lets in who knows the secret, by the right method.
func (s *sidecar) guarded(methods map[string]http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.knowsSecret(r) {
			refuse(w, http.StatusUnauthorized, "unauthorized", "The secret of this pod is missing or wrong.")
			return
		}
		if handle, found := methods[r.Method]; found {
			handle(w, r)
			return
		}
		refuse(w, http.StatusMethodNotAllowed, "no_method", "Not by this method.")
	}
}
