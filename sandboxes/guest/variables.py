"""All variables of a program in one stream, and back.

A line that says who wrote it, then packed (see `packing`) for each variable its name and a pickle (see
`pieces`), so that one that cannot be read is left out and the next one found. All pickles share one memo:
what two variables had in common they have in common again.
"""

from __future__ import annotations

import io
import pickle
import platform
import sys
import types
from pathlib import Path
from typing import Any, BinaryIO

from .our_cloudpickle import pickler_of, version
from .packing import Broken, NoRoom, Packer, TooLarge, Unpacker
from .pieces import NAME_BYTES_MAX, Pieces, PieceWriter

_MAGIC = "millrace-state-1"
_HEAD_BYTES_MAX = 200
_REASON_LENGTH_MAX = 160


def restore_variables(names: dict[str, Any], saved: memoryview) -> dict[str, str]:
    """Set variables in `names`; returns those that could not be read, and why. Raises `Broken`."""
    head, _, _ = bytes(saved[:_HEAD_BYTES_MAX]).partition(b"\n")
    _check_writer(head + b"\n")
    packed = saved[len(head) + 1 :]
    source = Pieces(Unpacker(packed))
    unpickler = pickle.Unpickler(source)  # noqa: S301 - here in the sandbox is where it may be done
    restored: dict[str, Any] = {}
    lost: dict[str, str] = {}
    try:
        while name := source.next_name():
            restored[name] = unpickler.load()
            source.skip()
    except Broken:
        raise
    except BaseException:
        restored, lost = _restore_what_can_be(Pieces(Unpacker(packed)))
    names.update(restored)
    return lost


class _Memo(dict[int, Any]):
    """What was read so far by its number; numbers of what was lost are not given to others."""

    lost = 0

    def __len__(self) -> int:
        return super().__len__() + self.lost

    def lose(self, known: int, count: int) -> None:
        """Forget what came after the first `known`, which should have become `count`."""
        for number in [number for number in self if number >= known]:
            del self[number]
        self.lost += count


def _restore_what_can_be(source: Pieces) -> tuple[dict[str, Any], dict[str, str]]:
    """Read variable by variable in pure Python, slowly: its memo can have holes, and C's cannot.

    Returns those that could be read, and for the others why not. What refers to something in a lost one is
    lost as well.
    """
    restored, lost, memo = {}, {}, _Memo()
    while name := source.next_name():
        pickled = source.read(sys.maxsize)
        unpickler = pickle._Unpickler(io.BytesIO(pickled))
        unpickler.memo = memo  # type: ignore[attr-defined]
        known = len(memo)
        try:
            restored[name] = unpickler.load()
        except BaseException as error:
            lost[name] = reason_of(error)
            memo.lose(known, _memoized(pickled))
    return restored, lost


def _memoized(pickled: bytes) -> int:
    import pickletools  # seldom needed

    try:
        return sum(opcode.name == "MEMOIZE" for opcode, _, _ in pickletools.genops(pickled))
    except ValueError as error:
        raise Broken("it is damaged") from error


def save_variables(main: types.ModuleType, path: Path, bytes_max: int) -> dict[str, str]:
    """Write all variables that can be written; returns the others, and why. Raises `TooLarge` and `NoRoom`.

    Mostly all can, so that is tried first; else each is tried alone, and those that can are written again.
    """
    names = [name for name in main.__dict__ if _is_variable(name)]
    left_out: dict[str, str] = {}
    with path.open("wb") as file:
        try:
            write_all(main, names, file, bytes_max)
        except (TooLarge, NoRoom):
            raise
        except BaseException:
            left_out = _cannot_be_saved(main, names)
            file.seek(0)
            file.truncate()
            write_all(main, [name for name in names if name not in left_out], file, bytes_max)
    return left_out


def write_all(main: types.ModuleType, names: list[str], file: BinaryIO, bytes_max: int) -> None:
    """Write these variables of `main`. Raises whatever pickling one of them raises."""
    head = _writer()
    file.write(head)
    packer = Packer(file, bytes_max - len(head))
    pieces = PieceWriter(packer)
    pickler = pickler_of(main, pieces)
    for name in names:
        pieces.begin(name)
        pickler.dump(main.__dict__[name])
        pieces.end()
    pieces.begin("")
    packer.flush()


def _cannot_be_saved(main: types.ModuleType, names: list[str]) -> dict[str, str]:
    reasons = {}
    for name in names:
        try:
            pickler_of(main, _Nowhere()).dump(main.__dict__[name])
        except BaseException as error:
            reasons[name] = reason_of(error)
    return reasons


def _is_variable(name: Any) -> bool:
    if not isinstance(name, str) or name[:2] == "__" == name[-2:]:
        return False
    return len(name.encode("utf-8", "surrogatepass")) <= NAME_BYTES_MAX


def _writer() -> bytes:
    """Return the line by which a reader knows whether it may understand the rest."""
    python = ".".join(platform.python_version_tuple()[:2])
    return f"{_MAGIC} python {python} cloudpickle {version()}\n".encode()


def _check_writer(line: bytes) -> None:
    if line == _writer():
        return
    words = line.decode("ascii", "replace").split()
    if len(words) != len(_writer().split()) or words[0] != _MAGIC:
        raise Broken("this is no saved state")
    theirs, ours = (
        f"Python {each[2]} with cloudpickle {each[4]}" for each in (words, _writer().decode().split())
    )
    raise Broken(f"they were saved by {theirs}, and this is {ours}")


class _Nowhere:
    def write(self, data: Any) -> int:
        return len(data)


def reason_of(error: BaseException) -> str:
    """Return what is wrong in one short line; what `error` says is somebody else's code."""
    try:
        text = " ".join(str(error).split())
    except BaseException:
        text = ""
    return (text or type(error).__name__)[:_REASON_LENGTH_MAX]
