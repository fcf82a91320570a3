"""What is wrong with the pool, in sentences for whoever asks how the service is doing."""

from sandboxes.kubernetes.claims import PoolStatus


def notes_of(status: PoolStatus) -> list[str]:
    """Return a sentence for all of it and one for each language that lacks pods; none if all is well."""
    notes = [f"The pool: {status.trouble}"] if status.trouble else []
    for language, level in status.levels.items():
        if level.trouble:
            notes.append(f"{language}: {level.ready} of {level.size} pods are ready: {level.trouble}")
    return notes
