package main

import (
	"net"
	"sync"
)

const connectionsMax = 64

// door is a listener that drops, unread, what comes from inside the pod: the code shares our network, and has no
// business here. It also bounds how many come at once.
type door struct {
	net.Listener
	inside     map[string]bool
	allowLocal bool
	places     chan struct{}
}

func newDoor(listener net.Listener, allowLocal bool) *door {
	inside := map[string]bool{}
	addresses, _ := net.InterfaceAddrs()
	for _, each := range addresses {
		if network, ok := each.(*net.IPNet); ok {
			inside[network.IP.String()] = true
		}
	}
	return &door{listener, inside, allowLocal, make(chan struct{}, connectionsMax)}
}

// Accept waits for one that may come in.
func (d *door) Accept() (net.Conn, error) {
	for {
		connection, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if !d.mayEnter(connection) {
			connection.Close()
			continue
		}
		select {
		case d.places <- struct{}{}:
			return &visitor{Conn: connection, leave: func() { <-d.places }}, nil
		default:
			connection.Close()
		}
	}
}

func (d *door) mayEnter(connection net.Conn) bool {
	if d.allowLocal {
		return true
	}
	remote, ok := connection.RemoteAddr().(*net.TCPAddr)
	if !ok || remote.IP.IsLoopback() || d.inside[remote.IP.String()] {
		return false
	}
	local, ok := connection.LocalAddr().(*net.TCPAddr)
	return ok && !remote.IP.Equal(local.IP)
}

// visitor gives its place back when it is closed.
type visitor struct {
	net.Conn
	once  sync.Once
	leave func()
}

// Close closes the connection.
func (v *visitor) Close() error {
	v.once.Do(v.leave)
	return v.Conn.Close()
}
