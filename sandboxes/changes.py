"""What a run did to the working directory, by comparing two listings of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sandboxes.protocol import FileChanges, ProducedFile
from schemas.files import is_scratch
from schemas.limits import SandboxLimits

_SKIPPED_MAX = 100
"""How many skipped entries are named; a guest can make thousands."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What tells a file from what it was: the guest can set any time but the inode's change time."""

    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class Found:
    """One directory entry: a regular file with its mark, or a reason why it is not collected."""

    name: str
    mark: Mark | None
    why_not: str = ""


def compare(before: Sequence[Found], after: Sequence[Found], limits: SandboxLimits) -> FileChanges:
    """Return what is new, changed or gone, within the limits on files that are kept.

    What programs leave unasked in scratch folders neither counts nor is told.
    """
    known = {found.name: found.mark for found in before}
    asked_for = [found for found in after if found.name in known or not is_scratch(found.name)]
    changed = [found for found in asked_for if found.mark is None or known.get(found.name) != found.mark]
    produced: list[ProducedFile] = []
    skipped: list[tuple[str, str]] = []
    for found, why_not in _choose(changed, limits):
        if why_not or found.mark is None:
            skipped.append((found.name, why_not))
        else:
            produced.append(ProducedFile(found.name, found.mark.size_bytes))
    names = {found.name for found in after}
    deleted = [name for name in known if name not in names]
    return FileChanges(produced, deleted, _shortened(skipped))


def _choose(changed: Sequence[Found], limits: SandboxLimits) -> Iterator[tuple[Found, str]]:
    """Yield each file with why it is not kept, or an empty reason."""
    kept = total = 0
    for found in changed:
        why_not = found.why_not
        if found.mark:
            why_not = _over_limit(found.mark.size_bytes, kept, total, limits)
            if not why_not:
                kept += 1
                total += found.mark.size_bytes
        yield found, why_not


def _over_limit(size_bytes: int, kept: int, total: int, limits: SandboxLimits) -> str:
    if kept >= limits.files_max:
        return f"more than {limits.files_max} files"
    if size_bytes > limits.file_bytes_max:
        return f"{size_bytes} bytes, a file may have {limits.file_bytes_max}"
    if total + size_bytes > limits.files_bytes_max:
        return f"all files together may have {limits.files_bytes_max} bytes"
    return ""


def _shortened(skipped: list[tuple[str, str]]) -> list[tuple[str, str]]:
    if len(skipped) <= _SKIPPED_MAX:
        return skipped
    return [*skipped[:_SKIPPED_MAX], ("...", f"and {len(skipped) - _SKIPPED_MAX} more")]
