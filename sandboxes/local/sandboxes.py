"""Sandboxes on this machine, each a bubblewrap of its own."""

import asyncio
import itertools
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

import msgspec

from infra.errors import Misconfigured
from sandboxes.local.cgroups import Group, new_name, sweep
from sandboxes.local.config import LocalConfig
from sandboxes.local.launch import Guest, Launcher, compile_init
from sandboxes.local.orphans import end_orphans
from sandboxes.local.parts import Parts
from sandboxes.local.prestarted_pool import PrestartedPool, Starter
from sandboxes.local.sandbox import LocalSandbox
from sandboxes.local.tiers import Host, find_bwrap, probe
from sandboxes.local.warm import WarmPython, group_limits
from sandboxes.protocol import (
    LanguageMissing,
    SandboxesInfo,
    SandboxSpec,
    SandboxUnavailable,
)
from sandboxes.toolchain import Toolchain
from schemas.limits import SandboxLimits

FindToolchains = Callable[[int], Mapping[str, Toolchain]]
"""Finds the languages as a user id can use them."""


class LocalSandboxes:
    """See `sandboxes.protocol.Sandboxes`. `find_toolchains` is called once, in a thread, at start."""

    def __init__(self, config: LocalConfig, find_toolchains: FindToolchains) -> None:
        self._config = config
        self._find_toolchains = find_toolchains
        self._toolchains: Mapping[str, Toolchain] = {}
        self._host: Host | None = None
        self._live: set[LocalSandbox] = set()
        self._turn = itertools.count()
        self._warm: WarmPython | None = None
        self._prestarted: PrestartedPool | None = None

    async def start(self) -> None:
        """Find bubblewrap, languages and tier; clear what a dead predecessor left."""
        if self._host:
            return
        bwrap = find_bwrap()
        uid = self._next_uid()
        self._toolchains = await asyncio.to_thread(self._find_toolchains, os.getuid() if uid is None else uid)
        python = self._toolchains["py"]
        if python.missing:
            raise Misconfigured(f"Every sandbox needs Python 3.8 or newer inside. {python.missing}")
        path = python.paths["python3"]
        launcher = Launcher(
            bwrap=bwrap,
            python=path,
            init=await asyncio.to_thread(compile_init, path),
            proc=True,
            disk_bytes_max=self._config.disk_bytes_max,
            host_paths=(*python.binds, *self._config.host_paths),
            start_timeout_s=self._config.start_timeout_s,
        )
        await asyncio.to_thread(end_orphans)
        self._host = await probe(launcher, uid, self._config)
        if self._host.hierarchy:
            await asyncio.to_thread(sweep, self._host.hierarchy)
        await self._warm_up(self._host, python)
        self._prestart(self._host)

    def _prestart(self, host: Host) -> None:
        """Begin to start runtimes ahead, in the background."""
        starter = Starter(host.launcher, host.hierarchy, self._config, self._next_uid)
        sizes = self._config.prestarted if host.tier in ("A", "B") else {}
        self._prestarted = PrestartedPool(starter, self._toolchains, sizes)
        self._prestarted.start(at_once=self._config.prestart_at_once)

    async def _warm_up(self, host: Host, python: Toolchain) -> None:
        """Keep Pythons warm. While that cannot be, each starts cold, and a note says so."""
        if not self._config.warm_plain or host.tier not in ("A", "B"):
            return
        self._warm = WarmPython(self._config, host.launcher, host.hierarchy, python, self._next_uid())
        await self._warm.start()

    async def acquire(self, spec: SandboxSpec) -> LocalSandbox:
        """Build a sandbox for one execution."""
        host = self._standing()
        toolchain = self._toolchains.get(spec.language)
        if toolchain is None or toolchain.missing:
            why = toolchain.missing if toolchain else "it is not in the table of languages."
            raise LanguageMissing(f"{spec.language} does not run here: {why}")
        toolchain = _checking(toolchain) if spec.check_types else toolchain
        uid = self._next_uid()
        limits = _with_factor(spec.limits, toolchain.recipe.memory_factor)
        if parts := await self._take_warm(spec, limits):
            return self._keep(LocalSandbox(parts, toolchain.recipe, limits, self._config, self._ended))
        grouping = asyncio.ensure_future(asyncio.to_thread(_make_group, host, limits))
        try:
            guest = await host.launcher.launch(uid=uid, network=spec.network, host_paths=toolchain.binds)
        except BaseException:
            await _discard(grouping)
            raise
        return await self._assemble(guest, grouping, toolchain, limits, uid)

    def is_ready(self, spec: SandboxSpec) -> bool:
        """A warm Python, or a runtime started ahead, waits."""
        return _may_be_warm(spec) and self._waiting(spec.language) > 0

    async def _take_warm(self, spec: SandboxSpec, limits: SandboxLimits) -> Parts | None:
        if not _may_be_warm(spec):
            return None
        if spec.language != "py":
            return await self._take_prestarted(spec.language, limits)
        if self._warm is None:
            return None
        guest = await self._warm.take(spec.code, group_limits(limits))
        if guest is None:
            return None
        return Parts(
            guest=guest.child,
            group=guest.group,
            joined=_join(None, 0),
            uid=guest.uid,
            cpu_s_before=guest.cpu_s_before,
            leave=self._warm.leave,
        )

    async def _take_prestarted(self, language: str, limits: SandboxLimits) -> Parts | None:
        taken = await self._prestarted.take(language, limits) if self._prestarted else None
        if taken is None:
            return None
        return Parts(
            guest=taken.runtime.guest,
            group=taken.group,
            joined=_join(None, 0),
            uid=taken.runtime.uid,
            ahead=taken.runtime,
            cpu_s_before=taken.cpu_s_before,
        )

    async def _assemble(
        self,
        guest: Guest,
        grouping: "asyncio.Future[Group | None]",
        toolchain: Toolchain,
        limits: SandboxLimits,
        uid: int | None,
    ) -> LocalSandbox:
        try:
            group = await asyncio.shield(grouping)
        except BaseException as error:
            await guest.close()
            await _discard(grouping)
            if isinstance(error, OSError):
                raise SandboxUnavailable(f"No control group can be made: {error.strerror}.") from error
            raise
        parts = Parts(guest=guest, group=group, joined=_join(group, guest.pid), uid=guest.uid or uid or 0)
        return self._keep(LocalSandbox(parts, toolchain.recipe, limits, self._config, self._ended))

    def _keep(self, sandbox: LocalSandbox) -> LocalSandbox:
        self._live.add(sandbox)
        return sandbox

    def _ended(self, sandbox: LocalSandbox) -> None:
        self._live.discard(sandbox)
        if self._prestarted:
            self._prestarted.refill(sandbox.language)

    def info(self) -> SandboxesInfo:
        """Say what runs here."""
        host = self._host
        notes = [toolchain.note for toolchain in self._toolchains.values() if toolchain.note]
        return SandboxesInfo(
            kind="local",
            tier=host.tier if host else None,
            languages=[
                toolchain.status(self._waiting(toolchain.code)) for toolchain in self._toolchains.values()
            ],
            notes=[*(host.notes if host else ()), *(self._warm.notes if self._warm else ()), *notes],
        )

    def _waiting(self, language: str) -> int:
        if language == "py":
            return self._warm.ready if self._warm else 0
        return self._prestarted.ready(language) if self._prestarted else 0

    async def close(self) -> None:
        """Destroy every sandbox."""
        self._host = None
        if self._prestarted:
            await self._prestarted.close()
            self._prestarted = None
        await asyncio.gather(*(sandbox.close() for sandbox in list(self._live)))
        if self._warm:
            await self._warm.close()
            self._warm = None

    def _standing(self) -> Host:
        if self._host is None:
            raise SandboxUnavailable("The sandboxes are not started.")
        return self._host

    def _next_uid(self) -> int | None:
        """Return the user to run the next sandbox as; None if we are an ordinary one ourselves.

        Many users instead of one, because some limits (pipe memory, inotify, message queues) are per user.
        """
        if os.getuid() != 0:
            return None
        return self._config.uid_first + next(self._turn) % self._config.uids


def _may_be_warm(spec: SandboxSpec) -> bool:
    return not spec.network and not spec.check_types


def _checking(toolchain: Toolchain) -> Toolchain:
    """Return `toolchain` with a build that checks types first. Raises `LanguageMissing` if it cannot."""
    if not toolchain.recipe.check:
        raise LanguageMissing(
            f"check_types: nothing here checks types of {toolchain.code}; install it: `make languages`."
        )
    return replace(toolchain, recipe=toolchain.recipe.checked())


def _make_group(host: Host, limits: SandboxLimits) -> Group | None:
    if host.hierarchy is None:
        return None
    return host.hierarchy.make(new_name(), group_limits(limits))


def _with_factor(limits: SandboxLimits, memory_factor: float) -> SandboxLimits:
    """Return `limits` with what the language's runtime needs beside the program."""
    return msgspec.structs.replace(limits, memory_bytes_max=round(limits.memory_bytes_max * memory_factor))


def _join(group: Group | None, pid: int) -> "asyncio.Future[None]":
    """Put a sandbox into its group, beside what else is done: the kernel may take milliseconds."""
    if group is None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done
    return asyncio.ensure_future(asyncio.to_thread(group.join, pid))


async def _discard(grouping: "asyncio.Future[Group | None]") -> None:
    with suppress(OSError):
        if group := await grouping:
            await asyncio.to_thread(group.remove)
