"""The HTTP front door: authenticates, validates, publishes commands, turns events into answers."""
