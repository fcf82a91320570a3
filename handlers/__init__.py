"""The streams' front door: consumes requests, takes sandboxes, says what happened."""
