// Command sidecar is a pod's only door: handlers speak HTTP to it, and it moves files and passes on to the agent
// what shall run. PROTOCOL.md says how.
//
//	sidecar                 serve
//	sidecar install FOLDER  put the agent, a key and the guest's files there: what the init container does
package main

import (
	"fmt"
	"os"

	"millrace/sandboxes/shared"
)

func main() {
	if err := do(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sidecar:", err)
		os.Exit(1)
	}
}

func do(words []string) error {
	switch {
	case len(words) == 0:
		shared.Steady()
		config, err := readConfig()
		if err != nil {
			return err
		}
		return serve(config)
	case len(words) == 2 && words[0] == "install":
		return install("/", words[1])
	default:
		return fmt.Errorf("usage: sidecar [install FOLDER]")
	}
}
