package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"time"

	"millrace/sandboxes/shared"
)

const (
	keyPlace     = "/millrace/key"
	scriptsPlace = "/millrace"
	retryPause   = 20 * time.Millisecond
	greetTimeout = 5 * time.Second
)

// reachAgent connects, trying until the language container is up, and has the runtime started that shall wait.
func (s *sidecar) reachAgent() {
	connect := s.dial
	if s.config.nsenter {
		connect = enter
	}
	for {
		connection, err := connect()
		if err != nil {
			s.link.explain(err)
			time.Sleep(retryPause)
			continue
		}
		in := bufio.NewReaderSize(connection, shared.ChunkBytes)
		greeting, err := greet(connection, in)
		if err != nil {
			connection.Close()
			s.link.explain(err)
			time.Sleep(retryPause)
			continue
		}
		s.link.serve(connection, greeting, in)
		s.startAhead(greeting.Machine)
		return
	}
}

// dial presents the key at the agent's door.
func (s *sidecar) dial() (net.Conn, error) {
	key, err := os.ReadFile(keyPlace)
	if err != nil {
		return nil, err
	}
	connection, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", s.config.agentPort))
	if err != nil {
		return nil, err
	}
	return connection, shared.NewWriter(connection).Write(shared.Key, key)
}

func greet(connection net.Conn, in *bufio.Reader) (shared.Greeting, error) {
	var greeting shared.Greeting
	connection.SetReadDeadline(time.Now().Add(greetTimeout))
	defer connection.SetReadDeadline(time.Time{})
	frame, err := shared.Read(in)
	if err != nil {
		return greeting, err
	}
	if frame.Kind != shared.Hello {
		return greeting, fmt.Errorf("the agent begins with a frame of kind %q", frame.Kind)
	}
	return greeting, json.Unmarshal(frame.Payload, &greeting)
}

// explain keeps why there is no agent yet, for who asks whether we are ready.
func (l *link) explain(err error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.why = "no agent yet: " + err.Error()
}

// startAhead puts into the program folder what a waiting runtime finds there, and has it started.
func (s *sidecar) startAhead(machine string) {
	wanted := s.config.prestart
	if wanted == nil {
		s.link.settle(false, "")
		return
	}
	if err := s.putAhead(wanted); err != nil {
		s.link.settle(false, err.Error())
		return
	}
	command := shared.Command{Argv: wanted.Argv, Env: wanted.Env, Cwd: wanted.Cwd}
	command.Seccomp = wanted.Seccomp[machine]
	if len(wanted.Seccomp) > 0 && len(command.Seccomp) == 0 {
		s.link.settle(false, "there is no filter of system calls for "+machine)
		return
	}
	payload, _ := json.Marshal(command)
	s.link.send(shared.Ahead, payload)
}

func (s *sidecar) putAhead(wanted *prestart) error {
	if wanted.Script != "" {
		script, err := os.Open(scriptsPlace + "/" + wanted.Script)
		if err != nil {
			return err
		}
		defer script.Close()
		if err := s.program.put("."+wanted.Script, script); err != nil {
			return err
		}
	}
	if wanted.Source == "" {
		return nil
	}
	return s.program.put(wanted.Source, nil) // runtimes open it at their start
}
