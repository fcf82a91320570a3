"""A program that wants a module which is not here is told who can help, whatever Python it ran in."""

import pytest

from sandboxes.fake import FakeSandboxes
from sandboxes.fake_script import AnyStep, End, Write
from sandboxes.missing_module import advised
from sandboxes.protocol import Exit, Frame, OutputFrame, Program
from tests.sandboxes.bodies import Body

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOBODY_CAN = b"no_such_module is not installed on this server, and programs cannot install packages.\n"


async def told(body: Body, code: str, *, kind: str, language: str = "py") -> tuple[bytes, Exit]:
    """Return stderr and the exit of a program, as handlers and `millrace run` see them."""
    frames: list[Frame] = []
    sandbox = await body.acquire(language)
    try:
        frames += [frame async for frame in advised(sandbox.run(Program(code)), kind)]
    finally:
        await sandbox.close()
    *written, end = frames
    assert isinstance(end, Exit)
    stderr = b"".join(
        frame.data for frame in written if isinstance(frame, OutputFrame) and frame.stream == "stderr"
    )
    assert end.output.stderr_bytes == len(stderr)
    return stderr, end


async def test_below_the_traceback_stands_who_can_help(local: Body) -> None:
    """Warm and cold say the same, in each tier."""
    stderr, end = await told(local, "import no_such_module", kind="local")
    assert stderr.endswith(b"\nModuleNotFoundError: No module named 'no_such_module'\n" + NOBODY_CAN)
    assert (end.outcome, end.exit_code) == ("exited", 1)


async def test_also_in_a_python_that_the_program_started(local: Body) -> None:
    stderr, _ = await told(local, "python3 -c 'import no_such_module'", kind="local", language="bash")
    assert stderr.endswith(NOBODY_CAN)


async def told_of(text: str, *steps: AnyStep, kind: str = "local") -> str:
    """Return what is added to an error output that ends with `text`."""
    body = Body("fake", FakeSandboxes())
    stderr, _ = await told(body, body.code(Write(text, stream="stderr"), *(steps or (End(1),))), kind=kind)
    return stderr.decode().removeprefix(text)


@pytest.mark.parametrize(
    ("kind", "module", "words"),
    [
        ("local", "numpy", "its operator can add it by `make guest`"),
        ("kubernetes", "numpy", "its operator can add it to the image that LANG_IMAGE_PY names"),
        ("local", "leftpad", "cannot install packages"),
        ("kubernetes", "leftpad", "cannot install packages"),
    ],
)
async def test_the_cure_is_that_of_the_place(kind: str, module: str, words: str) -> None:
    """Two cases to tell apart: the operator can add it, or nobody planned for it."""
    said = await told_of(f"ModuleNotFoundError: No module named '{module}'\n", kind=kind)
    assert said.startswith(f"{module} is not installed on this server")
    assert words in said


@pytest.mark.parametrize(
    "text",
    [
        "ModuleNotFoundError: No module named 'numpy.nothing'\n",
        "ModuleNotFoundError: No module named 'numpy'\nbut it went on\n",
        "ModuleNotFoundError: raised by hand\n",
        "",
    ],
)
async def test_other_errors_are_left_as_they_are(text: str) -> None:
    assert await told_of(text) == ""


async def test_who_caught_the_error_needs_no_advice() -> None:
    assert await told_of("ModuleNotFoundError: No module named 'numpy'\n", End(0)) == ""
