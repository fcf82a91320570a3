package main

import (
	"fmt"
	"net"
	"os"
	"time"

	"millrace/sandboxes/shared"
)

const (
	keyPlace      = "/millrace/key"
	helloTimeout  = 2 * time.Second
	portVariable  = "K8S_EXECUTOR_PORT"
	placeVariable = "MILLRACE_AGENT_KEY_FILE"
)

// admit waits for the one connection that knows the key, and stops listening.
func admit() (net.Conn, error) {
	place := os.Getenv(placeVariable)
	if place == "" {
		place = keyPlace
	}
	key, err := os.ReadFile(place)
	if err != nil {
		return nil, err
	}
	if len(key) == 0 {
		return nil, fmt.Errorf("%s is empty", place)
	}
	listener, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", os.Getenv(portVariable)))
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	for {
		connection, err := listener.Accept()
		if err != nil {
			return nil, err
		}
		if knows(connection, key) {
			return connection, nil
		}
		connection.Close()
	}
}

func knows(connection net.Conn, key []byte) bool {
	connection.SetReadDeadline(time.Now().Add(helloTimeout))
	frame, err := shared.Read(connection)
	connection.SetReadDeadline(time.Time{})
	return err == nil && frame.Kind == shared.Key && shared.Same(frame.Payload, key)
}
