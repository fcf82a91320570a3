"""Where a tool really lives, and what else of the host it needs.

Under /usr everything is visible to sandboxes anyway. Elsewhere (/opt, a home) only tools that can
say where their folder is are taken, and that folder alone is shown: guessing one from a path such
as ~/bin/tool would show a whole home to strangers' code.
"""

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_ELF = b"\x7fELF"


@dataclass(frozen=True, slots=True)
class Home:
    """An executable that works inside a sandbox once `binds` are shown."""

    executable: str
    binds: tuple[str, ...] = ()


def find_home(tool: str, path: Path) -> Home | None:
    """Return where the program at `path` really is, None where it cannot be used in a sandbox."""
    if not _is_program(path):
        return None
    if _is_in_usr(path) and _is_in_usr(path.resolve()):
        return Home(str(path))
    ask = _ASK.get(tool)
    return ask(path) if ask else None


def _is_program(path: Path) -> bool:
    """Say whether it is machine code: version managers put scripts in front, which fail in a sandbox."""
    try:
        with path.open("rb") as file:
            return file.read(len(_ELF)) == _ELF
    except OSError:
        return False


def _is_in_usr(path: Path) -> bool:
    return path.is_relative_to("/usr") or path.is_relative_to("/bin") or path.is_relative_to("/sbin")


def _answer(path: Path, *arguments: str) -> Path | None:
    """Return the absolute path that the tool prints when asked."""
    try:
        result = subprocess.run(
            [path, *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    answer = Path(result.stdout.strip() or ".")
    return answer.resolve() if result.returncode == 0 and answer.is_absolute() else None


def _go(path: Path) -> Home | None:
    root = _answer(path, "env", "GOROOT")
    return Home(f"{root}/bin/go", _binds(root)) if root else None


def _rustc(path: Path) -> Home | None:
    # rustup's rustc is a launcher; the compiler is in the sysroot.
    root = _answer(path, "--print", "sysroot")
    return Home(f"{root}/bin/rustc", _binds(root)) if root else None


def _node(path: Path) -> Home | None:
    program = _answer(path, "-p", "process.execPath")
    return Home(str(program), _binds(program)) if program else None


def _python(path: Path) -> Home | None:
    prefix = _answer(path, "-I", "-c", "import sys; print(sys.base_prefix)")
    return Home(f"{prefix}/bin/python3", _binds(prefix)) if prefix else None


def _jdk(path: Path) -> Home | None:
    program = path.resolve()
    home = program.parent.parent
    return Home(str(program), _binds(home)) if (home / "lib" / "modules").is_file() else None


def _single_file(path: Path) -> Home | None:
    program = path.resolve()
    return Home(str(program), _binds(program))


def _binds(path: Path) -> tuple[str, ...]:
    return () if _is_in_usr(path) else (str(path),)


_ASK: Mapping[str, Callable[[Path], Home | None]] = {
    "go": _go,
    "rustc": _rustc,
    "node": _node,
    "python3": _python,
    "java": _jdk,
    "javac": _jdk,
    "esbuild": _single_file,
}
