"""A program's exit status is known before the kernel has torn its process down; lies change nothing."""

import pytest

from tests.sandboxes.bodies import Body

pytestmark = pytest.mark.asyncio(loop_scope="session")

WORD = "/program/.ended"


async def test_the_status_is_that_of_the_program_and_not_of_what_it_forked(local: Body) -> None:
    code = (
        "import os, sys\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    sys.exit(3)\n"
        "os.waitpid(child, 0)\n"
        "sys.exit(5)"
    )
    assert (await local.run(code)).exit.exit_code == 5


async def test_a_word_that_nobody_can_read_is_no_word(local: Body) -> None:
    code = f"import os, sys\nos.symlink('-1 or more', {WORD!r})\nsys.exit(4)"
    assert (await local.run(code)).exit.exit_code == 4


async def test_what_speaks_of_its_end_and_goes_on_is_stopped(local: Body) -> None:
    code = f"import os, time\nos.symlink('7', {WORD!r})\nos.closerange(0, 3)\ntime.sleep(0.5)\nos._exit(8)"
    assert (await local.run(code)).exit.exit_code in (7, 8), "8 where a Python starts cold"


@pytest.mark.parametrize(("end", "signal"), [("kill(os.getpid(), 9)", "SIGKILL"), ("abort()", "SIGABRT")])
async def test_a_death_without_a_word_is_told_by_the_kernel(local: Body, end: str, signal: str) -> None:
    result = await local.run(f"import os\nprint('before', flush=True)\nos.{end}")
    assert (result.exit.outcome, result.exit.signal, result.stdout) == ("killed", signal, b"before\n")
