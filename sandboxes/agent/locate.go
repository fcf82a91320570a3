package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"millrace/sandboxes/shared"
)

// ours begins the names of variables that the container was given for the agent, or that tell of the cluster.
var ours = []string{"MILLRACE_", "K8S_", "KUBERNETES_", "HOSTNAME="}

// locate returns the program a command names, looked up as a shell would, and its whole environment.
func locate(command shared.Command) (string, []string, error) {
	env := environment(command.Env)
	name := command.Argv[0]
	if strings.ContainsRune(name, '/') {
		return name, list(env), nil
	}
	for _, folder := range filepath.SplitList(env["PATH"]) {
		path := filepath.Join(folder, name)
		if held, err := os.Stat(path); err == nil && held.Mode().IsRegular() && held.Mode()&0o111 != 0 {
			return path, list(env), nil
		}
	}
	return "", nil, fmt.Errorf("%s is not in this image (PATH is %s)", name, env["PATH"])
}

// environment is the image's own with `given` on top.
func environment(given map[string]string) map[string]string {
	env := map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, pair := range os.Environ() {
		if name, value, _ := strings.Cut(pair, "="); !isOurs(pair) {
			env[name] = value
		}
	}
	for name, value := range given {
		env[name] = value
	}
	return env
}

func isOurs(pair string) bool {
	for _, beginning := range ours {
		if strings.HasPrefix(pair, beginning) {
			return true
		}
	}
	return false
}

func list(env map[string]string) []string {
	pairs := make([]string, 0, len(env))
	for name, value := range env {
		pairs = append(pairs, name+"="+value)
	}
	return pairs
}
