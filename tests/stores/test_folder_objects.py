"""What is peculiar to bytes in a folder."""

import asyncio
import os
import stat
from pathlib import Path

import pytest

from infra.errors import Unavailable
from infra.stores.folder_objects import FolderObjects
from tests.stores.conftest import MIB, left_behind, pieces

KEY = "files/session/file"


async def test_nobody_else_may_look_into_the_folder(tmp_path: Path) -> None:
    """Files of all tenants lie there."""
    root = tmp_path / "data" / "objects"
    old = os.umask(0)
    try:
        await FolderObjects(root).put(KEY, pieces(b"x"))
    finally:
        os.umask(old)
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert stat.S_IMODE((root / KEY).stat().st_mode) == 0o600


async def test_folders_that_empty_and_fill_at_once_lose_nothing(tmp_path: Path) -> None:
    """The last object of a folder is deleted just when the next one comes."""
    objects = FolderObjects(tmp_path / "objects")

    async def put_and_delete(number: int) -> None:
        for _ in range(20):
            await objects.put(f"files/session/{number}", pieces(b"x"))
            await objects.delete(f"files/session/{number}")

    await asyncio.gather(*(put_and_delete(number) for number in range(8)))
    assert await left_behind(objects) == []
    assert not (tmp_path / "objects" / "files").exists()


async def test_a_place_that_is_no_folder_is_unavailable(tmp_path: Path) -> None:
    """In a sentence, for every call."""
    (tmp_path / "objects").write_text("a file")
    objects = FolderObjects(tmp_path / "objects")
    with pytest.raises(Unavailable, match="local folder of files cannot be used"):
        await objects.put(KEY, pieces(b"x"))
    with pytest.raises(Unavailable, match="local folder of files cannot be used"):
        await objects.check()


async def test_a_full_disk_is_told_and_nothing_half_stays(small_disk: Path) -> None:
    """What was there stays, and what fits still goes in."""
    objects = FolderObjects(small_disk / "objects")
    await objects.put("files/session/kept", pieces(b"x"))
    with pytest.raises(Unavailable, match="local folder of files has no room left"):
        await objects.put(KEY, pieces(*([b"x" * MIB] * 8)))
    assert await left_behind(objects) == ["files/session/kept"]
    await objects.put(KEY, pieces(b"x" * MIB))
