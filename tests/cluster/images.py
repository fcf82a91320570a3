"""Images for the cluster of the tests, packed from this machine: no registry is asked, no engine needed.

A language's image holds the Debian packages of its tools and what those depend on, as they are installed
here: nothing of ours, so that it is as unmodified as any. `python -m tests.cluster.images` packs and imports
all that this machine has.
"""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

from infra.cache_folder import cache_folder
from infra.cluster.home import home
from infra.cluster.images import Image, write_archive
from infra.cluster.node import load_images
from sandboxes.languages import RECIPES, recipe_for
from sandboxes.pod_programs import pod_programs, put_guest_files
from sandboxes.toolchain import Toolchain
from sandboxes.toolchains import find_tools
from sandboxes.warm_caches import cache_of

REGISTRY = "test.local"
_TOP = ("bin", "lib", "lib64", "sbin")
_BASE = ("bash", "coreutils", "dash", "grep", "sed", "findutils", "libc-bin")
_LEFT_OUT = re.compile(
    r"/usr/share/(doc|man|info|locale|lintian|bug)/|\.pyc$|^/\.$|^/(bin|lib|lib64|sbin)$|^/usr/lib/systemd/"
)
_LISTINGS = Path("/var/lib/dpkg/info")
_GO, _GO_CACHE = "/usr/local/go", "/opt/go-cache"
_SYS_PTRACE, _SYS_CHROOT, _SYS_ADMIN = 19, 18, 21


def image_name(name: str) -> str:
    """Return the name of `sidecar`, `sidecar-nsenter` or a language's code in the cluster."""
    return f"{REGISTRY}/{name}:1"


def available_languages() -> list[str]:
    """Return the languages whose image can be made here."""
    tools = _tools()
    return [recipe.code for recipe in RECIPES if not tools[recipe.code].missing and files_of(recipe.code)]


@functools.cache
def _tools() -> dict[str, Toolchain]:
    return find_tools(os.geteuid())


def load(names: list[str]) -> None:
    """Pack and import these."""
    folder = cache_folder(os.environ) / "test-images"
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        archive = folder / f"{name}.{os.getpid()}.tar"
        try:
            write_archive(archive, _sidecar(folder, name) if name.startswith("sidecar") else _language(name))
            load_images(home(), [archive])
        finally:
            archive.unlink(missing_ok=True)


def _sidecar(folder: Path, name: str) -> Image:
    """As infra/docker/sidecar.Dockerfile makes it: static programs alone, for nsenter with capabilities."""
    put_guest_files(folder / "guest")
    programs = {f"/{each}": pod_programs() / each for each in ("agent", "sidecar")}
    powers = 1 << _SYS_ADMIN | 1 << _SYS_CHROOT | 1 << _SYS_PTRACE
    return Image(
        image_name(name),
        files={**programs, "/guest": folder / "guest"},
        entrypoint=("/sidecar",),
        user="65532:65532",
        capabilities={"/sidecar": powers} if name == "sidecar-nsenter" else {},
    )


def _language(code: str) -> Image:
    """With what infra/docker/languages sets, where it matters."""
    links = {f"/{name}": f"usr/{name}" for name in _TOP}
    env = ["LANG=C.UTF-8"]
    if _GO_CACHE in files_of(code):
        links["/usr/local/bin/go"] = f"{_GO}/bin/go"
        env.append(f"GOCACHE={_GO_CACHE}")
    return Image(image_name(code), files=files_of(code), links=links, env=env)


@functools.cache
def files_of(code: str) -> dict[str, Path]:
    """Return what is in a language's image; nothing if its tools are neither Debian's nor easy to move."""
    patterns = ("/etc/alternatives", *recipe_for(code).host_paths)
    files = {str(path): path for pattern in patterns for path in Path("/").glob(pattern.lstrip("/"))}
    packages = set(_BASE)
    for tool, provides in recipe_for(code).tools.items():
        place = Path(_tools()[code].paths.get(tool, "/nonexistent"))
        if found := _closure(tuple(provides.split())) or _closure(_owners().get(str(place.resolve()), ())):
            packages |= found
        elif loose := _tree(place) or _program(place):
            files |= loose
        else:
            return {}
    for package in _closure(tuple(sorted(packages))):
        files |= _files_of_package(package)
    return files | _chosen(files)


@functools.cache
def _owners() -> dict[str, tuple[str]]:
    """Return the package of every file that is a program."""
    return {
        _merged(place): (listing.stem.split(":")[0],)
        for listing in _LISTINGS.glob("*.list")
        for place in listing.read_text().splitlines()
        if "/bin/" in place
    }


def _tree(program: Path) -> dict[str, Path]:
    """Return the parts of a Go that was unpacked somewhere, which it needs to build, and its cache."""
    top = program.parent.parent
    if not (top / "VERSION").is_file():
        return {}
    cache = cache_of(_tools()["go"], cache_folder(os.environ))
    parts = ("VERSION", "go.env", "bin/go", "src", "pkg")
    found = {f"{_GO}/{part}": top / part for part in parts if (top / part).exists()}
    return {**found, _GO_CACHE: cache} if cache.is_dir() else {}


def _chosen(files: dict[str, Path]) -> dict[str, Path]:
    """Return the links of Debian's alternatives that lead to one of these; they are no package's own."""
    links = {}
    for record in Path("/var/lib/dpkg/alternatives").glob("*"):
        _, link, *more = record.read_text().partition("\n\n")[0].split("\n")
        for place in map(Path, [link, *more[1::2]]):
            if place.is_symlink() and _merged(str(place.resolve())) in files:
                links[_merged(str(place))] = place
    return links


@functools.cache
def _installed() -> dict[str, str]:
    """Return each installed package with what it depends on; names that others provide stand for them."""
    shown = "${db:Status-Status}\t${Package}\t${Provides}\t${Pre-Depends}, ${Depends}\n"
    command = ["dpkg-query", "--show", f"--showformat={shown}"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    packages = {}
    for line in listed.splitlines():
        status, name, provides, depends = line.split("\t")
        if status == "installed":
            for each in [name, *re.findall(r"[a-z0-9][a-z0-9.+-]+(?= \(|,|$)", provides)]:
                packages.setdefault(each, depends if each == name else name)
    return packages


def _closure(packages: tuple[str, ...]) -> set[str]:
    """Return these with all that they depend on; nothing if one of these is not installed."""
    known = _installed()
    if not known.keys() >= set(packages):
        return set()
    found: set[str] = set()
    waiting = list(packages)
    while waiting:
        name = waiting.pop()
        if name not in found and name in known:
            found.add(name)
            for alternatives in known[name].split(","):
                choices = [each.split("(")[0].split(":")[0].strip() for each in alternatives.split("|")]
                waiting += [each for each in choices if each in known][:1]
    return found


def _files_of_package(package: str) -> dict[str, Path]:
    listings = (_LISTINGS / f"{package}.list", *_LISTINGS.glob(f"{package}:*.list"))
    places = next((each.read_text() for each in listings if each.is_file()), "").splitlines()
    files = {}
    for place in places:
        path = Path(place)
        if not _LEFT_OUT.search(place) and (path.is_symlink() or path.is_file()) and os.access(path, os.R_OK):
            files[_merged(place)] = path
    return files


def _program(path: Path) -> dict[str, Path]:
    """Return a program that was installed by hand, with its libraries, if it is one file."""
    linked = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
    if linked.returncode != 0 or path.stat().st_size < 1 << 20:
        return {}
    libraries = re.findall(r"(/\S+) \(0x", linked.stdout)
    return {
        f"/usr/local/bin/{path.name}": path.resolve(),
        **{_merged(each): Path(each).resolve() for each in libraries},
    }


def _merged(place: str) -> str:
    return f"/usr{place}" if place.split("/")[1] in _TOP else place


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["sidecar", "sidecar-nsenter", *available_languages()]
    load(wanted)
    sys.stdout.write(f"{' '.join(map(image_name, wanted))}\n")
