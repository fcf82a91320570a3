package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
)

// config is what the pod's manifest says; the names are explained in PROTOCOL.md.
type config struct {
	secretDigest []byte
	agentPort    string
	port         string
	nsenter      bool
	allowLocal   bool
	prestart     *prestart
}

// prestart is a runtime to be started before its program comes.
type prestart struct {
	Argv   []string          `json:"argv"`
	Env    map[string]string `json:"env"`
	Cwd    string            `json:"cwd"`
	Script string            `json:"script"`
	Source string            `json:"source"`

	Seccomp map[string][]byte `json:"seccomp"` // by machine: who writes the manifest does not know which
}

func readConfig() (config, error) {
	c := config{
		agentPort:  variable("K8S_EXECUTOR_PORT", "9090"),
		port:       variable("MILLRACE_SIDECAR_PORT", "8080"),
		allowLocal: os.Getenv("MILLRACE_SIDECAR_LOCAL") == "true", // for tests without a pod
	}
	var err error
	c.secretDigest, err = hex.DecodeString(os.Getenv("MILLRACE_SECRET_SHA256"))
	if err != nil || len(c.secretDigest) != sha256.Size {
		return c, fmt.Errorf("MILLRACE_SECRET_SHA256 must be a SHA-256 in hexadecimal")
	}
	switch mode := variable("K8S_EXECUTION_MODE", "agent"); mode {
	case "agent", "nsenter":
		c.nsenter = mode == "nsenter"
	default:
		return c, fmt.Errorf("K8S_EXECUTION_MODE must be agent or nsenter, not %q", mode)
	}
	if text := os.Getenv("MILLRACE_PRESTART"); text != "" {
		c.prestart = &prestart{}
		if err := json.Unmarshal([]byte(text), c.prestart); err != nil || len(c.prestart.Argv) == 0 {
			return c, fmt.Errorf("MILLRACE_PRESTART must be a JSON object with argv: %v", err)
		}
	}
	return c, nil
}

func variable(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
