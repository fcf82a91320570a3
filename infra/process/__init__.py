"""Processes on one machine: started, watched, started again and stopped in order."""
