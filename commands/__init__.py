"""One module for each command that does more than call a front door. Above all rooms; wires them together."""
