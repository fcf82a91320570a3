"""Publish, consume, tail: the streams between front doors, one meaning on every transport."""
