// Command agent runs code inside a language's image, on the word of the sidecar beside it.
//
// It is process 1 of its container, so that no signal of the code reaches it. The sidecar connects once, with
// the key that `sidecar install` left, before any code runs; then nobody can connect any more. From there on
// the agent starts, feeds and stops what it is told to, sends what that writes in bounded frames, and when the
// connection ends it kills everything and ends.
//
//	agent              serve on K8S_EXECUTOR_PORT
//	agent hold         do nothing, for ever: what a language container does in nsenter mode
//	agent enter        serve on descriptor 3, having come from the sidecar in nsenter mode
package main

import (
	"fmt"
	"net"
	"os"

	"millrace/sandboxes/shared"
)

func main() {
	verb := "serve"
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	if err := do(verb); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

func do(verb string) error {
	switch verb {
	case "serve":
		return serve(admit)
	case "hold":
		return hold()
	case "enter":
		return serve(enter)
	default:
		return fmt.Errorf("there is no verb %q", verb)
	}
}

func serve(connect func() (net.Conn, error)) error {
	shared.Steady()
	children := watchChildren()
	if err := harden(); err != nil {
		return err
	}
	connection, err := connect()
	if err != nil {
		return err
	}
	defer children.bury()
	return newAgent(connection, children).obey()
}
