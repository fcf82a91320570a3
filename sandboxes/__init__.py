"""Where untrusted code runs: one protocol, bodies for one machine, for Kubernetes, and for tests."""
