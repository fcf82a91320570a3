"""What hostile programs of every language try, and what must come of it on every body."""

from pathlib import Path

import pytest

from tests.hostile.conftest import Attack
from tests.hostile.programs import BYE_AND_A_GRANDCHILD, COMPILE_BOMBS, SHOW_A_FILE
from tests.sandboxes.bodies import MIB

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOM = {"memory_bytes_max": 512 * MIB, "pids_max": 256, "timeout_s": 20.0}
"""Enough for every compiler and runtime, on a busy machine."""
CANARY = "canary-51c09e"


@pytest.mark.parametrize("language", BYE_AND_A_GRANDCHILD)
async def test_a_grandchild_that_holds_the_output_does_not_hold_up_the_end(
    attack: Attack, language: str
) -> None:
    result = await attack(BYE_AND_A_GRANDCHILD[language], language=language, **ROOM)
    assert (result.exit.outcome, result.exit.exit_code, result.stdout) == ("exited", 0, b"bye\n"), result


@pytest.mark.parametrize("language", SHOW_A_FILE)
async def test_no_file_of_the_host_can_be_shown(attack: Attack, language: str, tmp_path: Path) -> None:
    """Neither by the program nor by its compiler, though anybody on the host may read it."""
    secret = tmp_path / f"{CANARY}.txt"
    secret.write_text(f"{CANARY * 2}\n")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() != "root" or folder.is_relative_to("/tmp/pytest-of-root"):
            folder.chmod(folder.stat().st_mode | 0o055)
    code = SHOW_A_FILE[language].replace("{path}", str(secret))
    result = await attack(code, language=language, **ROOM)
    said = (result.stdout + result.stderr).decode()
    assert CANARY * 2 not in said
    assert CANARY in said, "it was tried: the error names the file"


@pytest.mark.parametrize("language", COMPILE_BOMBS)
async def test_a_bomb_for_the_compiler_hits_nobody_else(attack: Attack, language: str) -> None:
    result = await attack(COMPILE_BOMBS[language], language=language, **ROOM | {"timeout_s": 3.0})
    assert result.exit.stage == "build", result
    assert result.exit.outcome in ("exited", "timed_out", "out_of_memory", "killed")
    assert result.exit.exit_code != 0
