"""What outlives an execution: files, and who is alive. Each store is a promise with one body per place."""
