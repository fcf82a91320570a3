"""Where the texts of settings come from: the process environment, and below it one `.env` file.

The file is read as python-dotenv reads it (quotes, comments, `export`), but `$` stands for itself: values
are never expanded. An empty value means unset, wherever it stands, so that `NAME=` in the environment takes
back what the file says.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv.parser import parse_stream

from infra.settings.faults import Fault

ENV_FILE = "MILLRACE_ENV_FILE"
"""Names another file than `.env` in the working directory. Read from the environment only."""
BESIDE = {
    ENV_FILE: "the file to read instead of .env",
    "MILLRACE_CACHE": "folder of set-up's compiler caches and of the Python packages for sandboxes",
    "MILLRACE_CLUSTER_KEPT": "for tests: the cluster they find was started for them",
    "MILLRACE_KEY": "the key that `millrace run --url` sends",
    "MILLRACE_PRESTART": "in a pod: the runtime that its sidecar starts ahead",
    "MILLRACE_SIDECAR_PORT": "in a pod: where its sidecar listens",
}
"""Variables of ours that are no settings: read from the environment by set-up, by clients, or first."""
_ENV_FILE_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Texts:
    """Everything that was found, not yet parsed."""

    environ: Mapping[str, str]
    file: Mapping[str, str]
    file_path: Path
    faults: tuple[Fault, ...]

    def find(self, name: str) -> str:
        """Return the text of a setting; empty if unset."""
        return self.environ.get(name, self.file.get(name, "")).strip()

    def source(self, name: str) -> str:
        """Say where the text of a setting comes from."""
        if name in self.environ:
            return "environment"
        return self.file_path.name if name in self.file else "default"


def read_texts(environ: Mapping[str, str]) -> Texts:
    """Read the `.env` file that `environ` names, beside `environ` itself."""
    named = environ.get(ENV_FILE, "").strip()
    path = Path(named or ".env")
    text, faults = _read(path, must_exist=bool(named))
    values, more = _split(path, text)
    return Texts(environ, values, path, (*faults, *more))


def _read(path: Path, *, must_exist: bool) -> tuple[str, list[Fault]]:
    try:
        with path.open("rb") as file:
            content = file.read(_ENV_FILE_BYTES_MAX + 1)
        if len(content) > _ENV_FILE_BYTES_MAX:
            return "", [Fault(str(path), "", f"is larger than {_ENV_FILE_BYTES_MAX} bytes")]
        return content.decode("utf-8-sig"), []
    except FileNotFoundError:
        fault = Fault(ENV_FILE, str(path), "must name a file that exists")
        return "", [fault] if must_exist else []
    except UnicodeDecodeError:
        return "", [Fault(str(path), "", "must be UTF-8")]
    except OSError as error:
        return "", [Fault(str(path), "", f"cannot be read: {error.strerror}")]


def _split(path: Path, text: str) -> tuple[dict[str, str], list[Fault]]:
    values: dict[str, str] = {}
    faults: list[Fault] = []
    for binding in parse_stream(io.StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            where = f"{path} line {binding.original.line}"
            faults.append(Fault(where, "", "must be of the form NAME=value"))
        elif binding.key is not None:
            values[binding.key] = binding.value or ""
    return values, faults
