"""The Python that people expect (numpy, pandas, matplotlib ...), apart from the service's own packages.

`make guest` makes a virtual environment for the sandboxes' Python from infra/guest/requirements.txt,
pinned by hashes. It is optional, and named after its Python, its pins and what we add: a folder that
exists is complete and fits.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from infra.built_folder import built_once
from infra.errors import Misconfigured
from sandboxes.missing_module import EXPECTED
from sandboxes.toolchain import Toolchain, with_binds, with_env

REQUIREMENTS = Path(__file__).parent.parent / "infra" / "guest" / "requirements.txt"
FIGURES = Path(__file__).parent / "guest" / "figures.py"

_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""A sandbox has about one CPU; more threads cost memory and time."""


def guest_folder(python: Toolchain, caches: Path) -> Path:
    """Return where the environment for this Python is, or would be."""
    pins = hashlib.sha256(REQUIREMENTS.read_bytes() + FIGURES.read_bytes()).hexdigest()[:12]
    return caches / f"guest-{python.version}-{pins}"


def use_guest(toolchain: Toolchain, folder: Path) -> Toolchain:
    """Return the toolchain of `py` or `bash` with the environment in `folder`."""
    bin_folder = str(folder / "bin")
    shown = with_binds(toolchain, str(folder))
    if toolchain.code == "bash":
        return with_env(shown, PATH=f"{bin_folder}:/usr/local/bin:/usr/bin:/bin", **_ONE_THREAD)
    python = f"{bin_folder}/python3"
    run = replace(shown.recipe, run=(python, *shown.recipe.run[1:]))
    return with_env(replace(shown, recipe=run, paths={"python3": python}), MPLBACKEND="Agg", **_ONE_THREAD)


def make_guest(python: Toolchain, caches: Path) -> Path:
    """Make the environment for `python` (as found, without one) if it is not there.

    Raises `Misconfigured` if packages cannot be had.
    """

    def fill(folder: Path) -> None:
        _call(python.paths["python3"], "-m", "venv", "--without-pip", str(folder))
        _install(folder / "bin" / "python3")
        _drop_scripts(folder / "bin")
        _teach_matplotlib(folder)
        _import_all(folder)

    return built_once(guest_folder(python, caches), fill)


def _install(python: Path) -> None:
    """Let our own pip install into `python`, which has none: Debian keeps it in a package of its own."""
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    rules = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--quiet", "-r", str(REQUIREMENTS)]
    _call(*pip, "install", *rules)


def _drop_scripts(folder: Path) -> None:
    """Keep the interpreter only: the first line of a script names the folder it was made in."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif not path.name.startswith("python"):
            path.unlink()


_CALLS = {"__init__": "bring_font_list", "pyplot": "save_on_show"}
"""Modules of matplotlib, and what of `guest/figures.py` each calls at its end."""


def _teach_matplotlib(folder: Path) -> None:
    """Have matplotlib do what people expect here, in warm and cold Pythons alike, whoever imports it."""
    (packages,) = folder.glob("lib/python3*/site-packages")
    shutil.copy(FIGURES, packages / "millrace_figures.py")
    for module, act in _CALLS.items():
        with (packages / "matplotlib" / f"{module}.py").open("a") as source:
            source.write(f"\nimport millrace_figures\nmillrace_figures.{act}()\n")


def _import_all(folder: Path) -> None:
    """See that all of it works, and keep the list of fonts that matplotlib makes on the way, in seconds."""
    fonts = folder / "matplotlib"
    fonts.mkdir()
    code = f"import {', '.join(sorted(EXPECTED))}, matplotlib.font_manager"
    _call(str(folder / "bin" / "python3"), "-I", "-c", code, MPLCONFIGDIR=str(fonts))


_STRAY = ("PYTHON", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_PYTHON")
"""Beginnings of variables that lead Python or pip to other folders; those that name an index stay."""


def _call(*command: str, **more: str) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(_STRAY)}
    result = subprocess.run(command, env={**env, **more}, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise Misconfigured(f"{command[0]} failed: {result.stderr[-2000:]}")
