"""The words: every message, request and answer, as msgspec Structs.

This floor exists so that all rooms mean the same by "execution", "outcome" or "deadline". It imports
nothing of ours and does no I/O. One noun per module; import from the module that owns the word.
"""
