"""What `make setup` does, on a machine that has nothing but a shell and a Python."""
