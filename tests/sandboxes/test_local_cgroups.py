"""Control groups: what is written where, in both versions, and whose leftovers are swept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandboxes.local.cgroups import Group, GroupLimits, Hierarchy, new_name, own_places, start_time, sweep
from sandboxes.local.cgroups_v2 import HierarchyV2
from sandboxes.local.tiers import find_hierarchy
from tests.sandboxes.bodies import MIB, require

LIMITS = GroupLimits(memory_bytes_max=64 * MIB, pids_max=9, cpus=0.25)


class Version2(HierarchyV2):
    """A plain folder in which new groups get the files that a kernel would put there."""

    def make(self, name, limits):
        folder = self._place / name
        original = Path.mkdir

        def mkdir(path, *args, **kwargs):
            original(path, *args, **kwargs)
            if path == folder:
                for file in ("memory.swap.max", "cpu.max.burst"):
                    (path / file).touch()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "mkdir", mkdir)
            return super().make(name, limits)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.subtree_control").write_text("")
    (tmp_path / "cgroup.procs").write_text("")
    return tmp_path


def test_version_2_writes_every_limit(place: Path) -> None:
    group = Version2(place).make("millrace-x", LIMITS)
    written = {path.name: path.read_text() for path in (place / "millrace-x").iterdir()}
    assert written == {
        "memory.max": str(64 * MIB),
        "memory.swap.max": "0",
        "pids.max": "10",
        "cpu.max": "25000 100000",
        "cpu.max.burst": "25000",
    }
    group.join(4242)
    assert (place / "millrace-x" / "cgroup.procs").read_text() == "4242"
    group.lift_cpu_quota()
    assert (place / "millrace-x" / "cpu.max").read_text() == "max 100000"


def test_version_2_reads_every_account(place: Path) -> None:
    group = Version2(place).make("millrace-x", LIMITS)
    folder = place / "millrace-x"
    (folder / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (folder / "memory.peak").write_text("4096\n")
    (folder / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    (folder / "pids.events").write_text("max 7\n")
    usage = group.usage()
    assert (usage.cpu_s, usage.memory_bytes_peak, usage.oom_kills, usage.pids_refused) == (2.5, 4096, 2, 7)


def test_version_2_renews_what_nothing_happened_in(place: Path) -> None:
    group = Version2(place).make("millrace-x", LIMITS)
    folder = place / "millrace-x"
    for name in ("cgroup.procs", "memory.events", "pids.events", "memory.current"):
        (folder / name).write_text("")
    assert not group.renew(), "an older kernel cannot forget a peak"
    (folder / "memory.peak").write_text("4096\n")
    group.lift_cpu_quota()
    assert group.renew()
    assert (folder / "memory.peak").read_text().startswith("reset")
    assert (folder / "cpu.max").read_text() == "25000 100000"
    (folder / "memory.peak").write_text("0\n")
    (folder / "cgroup.procs").write_text("7\n")
    assert not group.renew()
    (folder / "cgroup.procs").write_text("")
    (folder / "memory.events").write_text("oom_kill 1\n")
    assert not group.renew()


def test_version_2_hands_controllers_down_once(place: Path) -> None:
    hierarchy = HierarchyV2(place)
    hierarchy.hand_down()
    assert (place / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    (place / "cgroup.subtree_control").write_text("cpu memory pids")
    hierarchy.hand_down()
    assert (place / "cgroup.subtree_control").read_text() == "cpu memory pids"


def test_a_service_that_moved_down_finds_its_place_again(place: Path) -> None:
    (place / "millrace-service").mkdir()
    HierarchyV2(place / "millrace-service").hand_down()
    assert (place / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"


def of_a_dead_owner() -> str:
    """Return the name of a group whose owner is dead."""
    dead = subprocess.Popen(["true"])
    prefix, namespace, *_ = new_name().split("-")
    name = f"{prefix}-{namespace}-{dead.pid}-{start_time(dead.pid)}-1"
    dead.wait()
    return name


def test_only_groups_of_dead_owners_are_swept(place: Path) -> None:
    mine, others = new_name(), of_a_dead_owner()
    strangers = "millrace-1-" + others.split("-", 2)[2]
    for name in (mine, others, strangers, "millrace-service"):
        (place / name).mkdir()
    assert sweep(HierarchyV2(place)) == 1
    assert {path.name for path in place.iterdir() if path.is_dir()} == {mine, strangers, "millrace-service"}


def test_what_another_users_service_left_is_left_to_its_successor(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = place / of_a_dead_owner()
    left.mkdir()
    somebody_else = left.stat().st_uid + 1
    monkeypatch.setattr(os, "geteuid", lambda: somebody_else)
    assert sweep(HierarchyV2(place)) == 0
    assert left.is_dir()
    monkeypatch.setattr(os, "geteuid", lambda: left.stat().st_uid)
    assert sweep(HierarchyV2(place)) == 1


@pytest.fixture
def hierarchy() -> Hierarchy:
    """Return where we may make groups; skip where that is nowhere."""
    process = subprocess.Popen(["sleep", "100"])
    try:
        found, why_not = find_hierarchy(process.pid)
    finally:
        killed = process.poll()
        process.kill()
        process.wait()
    require(found is not None, f"no control groups here: {why_not}")
    assert found
    assert killed is None or killed == -9
    return found


def test_a_real_group_holds_limits_and_is_removed_with_what_is_in_it(hierarchy: Hierarchy) -> None:
    name = new_name()
    group = hierarchy.make(name, LIMITS)
    inside = subprocess.Popen(["sleep", "100"])
    group.join(inside.pid)
    group.remove()
    assert inside.wait() == -9
    tops = {each.top for each in own_places().values()}
    assert not [folder for top in tops for folder, _, _ in os.walk(top) if folder.endswith(name)]


def test_places_are_found_where_the_kernel_says() -> None:
    for place in own_places().values():
        assert place.own.is_relative_to(place.top)
        assert str(os.getpid()) in (place.own / "cgroup.procs").read_text().split()


USES_MEMORY = "import os, sys; sys.stdin.read(); print(len(bytearray(int(sys.argv[1]) << 20)))"


def run_in(group: Group, megabytes: int) -> int:
    """Run a program that needs so much memory in a group; return its exit code."""
    command = [sys.executable, "-I", "-S", "-c", USES_MEMORY, str(megabytes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        group.join(process.pid)
        process.communicate(timeout=60)
        return process.returncode


def test_a_renewed_group_knows_nothing_of_what_was(hierarchy: Hierarchy) -> None:
    group = hierarchy.make(new_name(), LIMITS)
    try:
        assert run_in(group, 32) == 0
        group.lift_cpu_quota()
        assert group.usage().memory_bytes_peak > 32 * MIB
        renewed = group.renew()
        if isinstance(hierarchy, HierarchyV2) and not renewed:
            pytest.skip("groups can be renewed from Linux 6.12 on")
        assert renewed
        assert group.usage().memory_bytes_peak < 8 * MIB
        assert run_in(group, 256) == -9, "its limits hold as before"
        assert not group.renew(), "a process was killed in it"
    finally:
        group.remove()
