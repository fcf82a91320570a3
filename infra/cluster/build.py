"""Compiling Kubernetes, once for each version: one program that holds all of it, Helm, the pause process."""

import os
import sys
from pathlib import Path

from infra.built_folder import built_once
from infra.cache_folder import cache_folder
from infra.setup import go

SOURCES = Path(__file__).with_name("kube")
VERSION = "1.35.4"
_GO_OLDEST = (1, 25)
_PACKAGES = {"kube": ".", "pause": "./pause", "helm": "helm.sh/helm/v3/cmd/helm"}


def programs() -> Path:
    """Return the folder with `kube`, `helm` and `pause`, building it if need be. Raises `Misconfigured`."""
    return built_once(_folder(), _build)


def is_built() -> bool:
    """Whether `programs` returns at once."""
    return _folder().is_dir()


def _folder() -> Path:
    return cache_folder(os.environ) / f"kubernetes-{VERSION}-{go.fingerprint(SOURCES)}"


def _build(folder: Path) -> None:
    compiler = go.get_go(_GO_OLDEST)
    print(f"Building Kubernetes {VERSION}, once; this takes 4 to 20 minutes ...", file=sys.stderr)  # noqa: T201
    for name, package in _PACKAGES.items():
        go.build(compiler, SOURCES, package, folder / name, *_flags())


def _flags() -> list[str]:
    """Leave out inlining and debug information, for a shorter build; Helm wants to know the version."""
    major, minor, _ = VERSION.split(".")
    stamp = {
        "k8s.io/component-base/version.gitVersion": f"v{VERSION}",
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
        "k8s.io/client-go/pkg/version.gitVersion": f"v{VERSION}",
    }
    linking = " ".join(["-s -w", *(f"-X {name}={value}" for name, value in stamp.items())])
    return ["-gcflags=all=-l -dwarf=false", f"-ldflags={linking}"]
