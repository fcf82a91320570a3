"""The steps of a Dockerfile, carried out without an engine: each stage is this machine's own root file system
with a layer in memory above it.

So what is tried is whether the steps work on a Debian with the base's tools, not the base image itself. Needs
root; knows the instructions that our files use and fails at any other.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_STEP_TIMEOUT_S = 900
_SHARED = ("proc", "dev", "sys")
_PATH = "/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CHROOT = shutil.which("chroot", path="/usr/sbin:/usr/bin") or "chroot"
"""By its path: the PATH of a step is its image's own."""
_WAY_OUT = re.compile(r"(?i)(https?|no)_proxy|node_extra_ca_certs|pip_cert|ssl_cert_(file|dir)")
"""Variables by which this machine reaches registries: an engine would be told them too."""


@dataclass
class Stage:
    """One FROM: where its files are, and what it says of how it runs."""

    place: Path
    layer: Path
    env: dict[str, str] = field(default_factory=lambda: {"PATH": _PATH})
    arguments: dict[str, str] = field(default_factory=dict)
    """Of this stage: only its steps see them."""
    folder: str = "/"
    user: str = ""
    entrypoint: list[str] = field(default_factory=list)

    def run(self, text: str, *, as_user: bool = False) -> str:
        """Return what a shell command says in here. Fails the test if the command does."""
        env = {name: value for name, value in os.environ.items() if _WAY_OUT.fullmatch(name)}
        env |= {"HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"} | self.arguments | self.env
        user = ["--userspec", self.user] if as_user else []
        began = time.monotonic()
        done = subprocess.run(
            [_CHROOT, *user, str(self.place), "/bin/sh", "-c", f"cd {shlex.quote(self.folder)} && {text}"],
            env=env,
            capture_output=True,
            text=True,
            timeout=_STEP_TIMEOUT_S,
            check=False,
        )
        sys.stderr.write(f"{time.monotonic() - began:6.1f} s  {text[:90]}\n")
        assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout


class Build:
    """One Dockerfile, as far as `target`, by default its last stage. Unmounts at the end."""

    def __init__(self, dockerfile: Path, target: str = "", **arguments: str) -> None:
        self._lines = list(instructions(dockerfile.read_text("utf-8")))
        self._target = target
        self._folder = Path(tempfile.mkdtemp(prefix="millrace-image-", dir="/dev/shm"))
        self._stages: dict[str, Stage] = {}
        self._arguments = dict(arguments)

    def __enter__(self) -> Stage:
        try:
            return self._build()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        for stage in self._stages.values():
            for name in (*_SHARED, ""):
                subprocess.run(["umount", "--lazy", stage.place / name], capture_output=True, check=False)
        shutil.rmtree(self._folder)

    def _build(self) -> Stage:
        stage = None
        for word, rest in self._lines:
            text = _VARIABLE.sub(lambda match: self._arguments.get(match[1], match[0]), rest)
            if word == "ARG":
                name, _, value = text.partition("=")
                self._arguments.setdefault(name, value)
                if stage:
                    stage.arguments[name] = self._arguments[name].strip('"')
            elif word == "FROM":
                if stage and self._target in self._stages:
                    return self._stages[self._target]
                stage = self._begin(*text.split())
            else:
                assert stage
                getattr(self, f"_{word.lower()}")(stage, text)
        assert stage
        return self._stages[self._target] if self._target else stage

    def _begin(self, base: str, *name: str) -> Stage:
        known = name[1] if name else str(len(self._stages))
        place, layer, work = (self._folder / f"{known}.{kind}" for kind in ("root", "layer", "work"))
        for each in (place, layer, work):
            each.mkdir()
        if base == "scratch":
            stage = Stage(layer, layer)
        else:
            stage = Stage(place, layer)
            before = self._stages.get(base)
            lower = f"{before.layer}:/" if before else "/"
            options = f"lowerdir={lower},upperdir={layer},workdir={work}"
            _call("mount", "-t", "overlay", "overlay", "-o", options, str(place))
            for each in _SHARED:  # not what is mounted below them: that would be the other stages too
                _call("mount", "--bind", f"/{each}", str(place / each))
                _call("mount", "--make-private", str(place / each))
            if before:
                stage.env, stage.folder = dict(before.env), before.folder
            elif base.startswith("python:"):  # which has it under this name as well
                _call("ln", "--symbolic", "--force", "/usr/bin/python3", str(place / "usr/local/bin/python"))
        self._stages[known] = stage
        return stage

    def _workdir(self, stage: Stage, text: str) -> None:
        stage.folder = text
        (stage.place / text.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def _env(self, stage: Stage, text: str) -> None:
        known = stage.arguments | stage.env
        for word in shlex.split(text):
            name, _, value = word.partition("=")
            stage.env[name] = Template(value).safe_substitute(known)

    def _user(self, stage: Stage, text: str) -> None:
        stage.user = text

    def _cmd(self, stage: Stage, text: str) -> None:
        """It is the entry point's, which nobody starts here."""

    def _entrypoint(self, stage: Stage, text: str) -> None:
        stage.entrypoint = shlex.split(text.strip("[]").replace(",", " "))

    def _copy(self, stage: Stage, text: str) -> None:
        words = text.split()
        source = ROOT
        if words[0].startswith("--from="):
            source = self._stages[words.pop(0).removeprefix("--from=")].place
        *patterns, target = words
        there = stage.place / Path(stage.folder, target).relative_to("/")
        (there if target.endswith("/") else there.parent).mkdir(parents=True, exist_ok=True)
        for pattern in patterns:
            found = sorted(source.glob(pattern.lstrip("/")))
            assert found, f"COPY {text}: there is no {pattern}"
            for here in found:
                if here.is_dir():
                    there.mkdir(exist_ok=True)
                _call(
                    "cp",
                    "-a",
                    "--no-preserve=ownership",
                    f"{here}/." if here.is_dir() else str(here),
                    str(there),
                )

    def _run(self, stage: Stage, text: str) -> None:
        stage.run(text)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield each instruction with its arguments in one line."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, rest.strip()


def _call(*command: Any) -> None:
    subprocess.run(command, check=True, capture_output=True)
