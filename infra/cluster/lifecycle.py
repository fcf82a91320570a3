"""The order in which a cluster comes and goes."""

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from infra.cluster import build, control_plane, node
from infra.cluster.home import LOOPBACK, NODE_ADDRESS, Home, home
from infra.cluster.keys import make_keys
from infra.cluster.leftovers import leftovers
from infra.cluster.machine import clean_machine, prepare_machine
from infra.cluster.programs import Programs
from infra.errors import Misconfigured
from infra.system_packages import install

Tier = Literal["api", "pods"]
"""The API alone, or a node as well."""
_REMOVE_PODS_S = 20.0
_GONE_WITHIN_S = 10.0


def tier_of_this_machine() -> Tier:
    """Return the best that can be had here: pods need root and Debian's packages."""
    is_debian = shutil.which("apt-get") is not None or shutil.which("containerd") is not None
    return "pods" if os.geteuid() == 0 and is_debian else "api"


def running_tier() -> Tier | None:
    """Return what runs, None for nothing or something broken."""
    place = home()
    parts = (*control_plane.PARTS, *(node.PARTS if place.has_node else ()))
    if not place.pids.is_dir() or not all(map(Programs(place).is_running, parts)):
        return None
    return "pods" if place.has_node else "api"


def up(tier: Tier) -> Home:
    """Start what does not run, and wait until it works. Raises `Misconfigured`."""
    place = home()
    with _alone(place):
        if running_tier() in (tier, "pods"):
            return place
        _take_down(place)  # what a dead one left
        built = build.programs()
        if tier == "pods":
            install(node.PACKAGES)
            prepare_machine()
        _start(place, tier, built)
    return place


def _start(place: Home, tier: Tier, built: Path) -> None:
    programs = Programs(place)
    address = LOOPBACK if tier == "api" else NODE_ADDRESS
    make_keys(place, address)
    control_plane.start_control_plane(place, programs, built / "kube", alone=tier == "api")
    if tier == "pods":
        node.start_node(place, programs, built)


def down() -> None:
    """Stop everything, in the order that lets each part clean up after itself, and remove the rest.

    Raises `Misconfigured` with what is left, should anything be.
    """
    place = home()
    with _alone(place):
        _take_down(place)


def _take_down(place: Home) -> None:
    if place.folder.exists():
        _stop(place, Programs(place))
    shutil.rmtree(place.folder, ignore_errors=True)
    give_up_at = time.monotonic() + _GONE_WITHIN_S  # what was killed takes a moment to be gone
    while left := leftovers(place):
        if time.monotonic() > give_up_at:
            raise Misconfigured(f"the cluster left behind: {'; '.join(left)}")
        if os.geteuid() == 0:
            clean_machine(place)
        shutil.rmtree(place.folder, ignore_errors=True)
        time.sleep(0.1)


def _stop(place: Home, programs: Programs) -> None:
    for name in ("kubelet", "kube-proxy", "names", *reversed(control_plane.PARTS)):
        programs.stop(name)
    if place.has_node:
        if programs.is_running("containerd") and build.is_built():
            _remove_pods(place)
        programs.stop("containerd")
        clean_machine(place)


def _remove_pods(place: Home) -> None:
    """End pods through containerd while it lives, which cleans up best; what stays is killed later."""
    command = [str(build.programs() / "kube"), "remove-pods", f"unix://{place.containerd_socket}"]
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(command, check=False, capture_output=True, timeout=_REMOVE_PODS_S)


@contextmanager
def _alone(place: Home) -> Iterator[None]:
    """One at a time: another waits until we are done."""
    place.folder.parent.mkdir(parents=True, exist_ok=True)
    with place.folder.with_name("cluster.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
