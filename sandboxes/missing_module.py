"""What the author of a Python program is told below its traceback where a module is not there.

It is read off the end of the program's error output, so that the advice is the same for every Python: warm or
cold, in every tier and in pods, also where the program started another Python that failed.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import replace

import msgspec

from sandboxes.protocol import Exit, Frame, OutputFrame

_EXPECTED = """
    PIL bs4 cloudpickle dateutil docx jinja2 lxml lz4 markdown matplotlib networkx numpy openpyxl pandas
    pptx pypdf pytz regex reportlab requests scipy seaborn sklearn statsmodels sympy tabulate tqdm xlrd
    xlsxwriter yaml
"""
EXPECTED = frozenset(_EXPECTED.split())
"""The modules of the guest environment by the names they are imported by (infra/guest/requirements.in)."""

_TAIL_BYTES = 256
# Part of a package that is here has a dot in its name: then the mistake is in the name.
_LAST_LINE = re.compile(rb"ModuleNotFoundError: No module named '(\w+)'\n\Z")
_REMEDIES = {"local": "by `make guest`", "kubernetes": "to the image that LANG_IMAGE_PY names"}


async def advised(frames: AsyncIterator[Frame], kind: str) -> AsyncIterator[Frame]:
    """Pass on the `frames` of a run; before an exit for want of a module comes a sentence on stderr.

    `kind` is that of the sandbox: who can add the module does it another way in each.
    """
    tail = b""
    async for frame in frames:
        match frame:
            case OutputFrame("stderr", data):
                tail = (tail + data)[-_TAIL_BYTES:]
            case Exit(outcome="exited", stage="run", exit_code=1) if advice := _advice(tail, kind):
                more = OutputFrame("stderr", f"{advice}\n".encode())
                yield more
                yield _counting(frame, more)
                return
        yield frame


def _counting(end: Exit, more: OutputFrame) -> Exit:
    count = end.output
    count = msgspec.structs.replace(count, stderr_bytes=count.stderr_bytes + len(more.data))
    return replace(end, output=count)


def _advice(stderr: bytes, kind: str) -> str:
    """Return a sentence to show below the end of `stderr`, empty if there is nothing to say."""
    match = _LAST_LINE.search(stderr)
    if match is None:
        return ""
    module = match[1].decode(errors="replace")
    if module in EXPECTED and kind in _REMEDIES:
        return f"{module} is not installed on this server; its operator can add it {_REMEDIES[kind]}."
    return f"{module} is not installed on this server, and programs cannot install packages."
