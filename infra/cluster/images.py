"""Archives of images that `ctr images import` takes, packed from files by the standard library alone."""

import hashlib
import io
import json
import platform
import struct
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

_FOLDERS = ("tmp", "etc", "proc", "sys", "dev", "root", "mnt", "mnt/data", "program", "millrace")
_USERS = "root:x:0:0::/root:/bin/sh\nnonroot:x:65532:65532::/tmp:/bin/sh\n"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_CHUNK_BYTES = 1 << 20
_TYPE = "application/vnd.oci.image."


@dataclass(frozen=True, slots=True)
class Image:
    """One image of one layer."""

    name: str
    """With a made-up host, so that nobody tries to pull it."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Place in the image to file or folder here."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Place in the image to target of a symbolic link there."""
    entrypoint: Sequence[str] = ()
    env: Sequence[str] = ()
    user: str = ""
    capabilities: Mapping[str, int] = field(default_factory=dict)
    """Place of a program to the capabilities that it gives to whoever runs it, a bit for each."""


def write_archive(path: Path, image: Image) -> None:
    """Write an image as an OCI layout in one tar file."""
    with tempfile.TemporaryFile(dir=path.parent) as layer, tarfile.open(path, "w") as archive:
        _write_layer(layer, image)
        layer_blob = _add_blob(archive, "layer.v1.tar", layer)
        rootfs = {"type": "layers", "diff_ids": [layer_blob["digest"]]}
        config = {
            "architecture": _MACHINES[platform.machine()],
            "os": "linux",
            "config": {"User": image.user, "Env": [_PATH, *image.env], "Entrypoint": [*image.entrypoint]},
            "rootfs": rootfs,
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_TYPE}manifest.v1+json",
            "config": _add_blob(archive, "config.v1+json", io.BytesIO(_json(config))),
            "layers": [layer_blob],
        }
        blob = _add_blob(archive, "manifest.v1+json", io.BytesIO(_json(manifest)))
        named = {**blob, "annotations": {"io.containerd.image.name": image.name}}
        _add(archive, "index.json", io.BytesIO(_json({"schemaVersion": 2, "manifests": [named]})))
        _add(archive, "oci-layout", io.BytesIO(_json({"imageLayoutVersion": "1.0.0"})))


def _write_layer(layer: IO[bytes], image: Image) -> None:
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for folder in _FOLDERS:
            tar.addfile(_folder(folder))
        _add(tar, "etc/passwd", io.BytesIO(_USERS.encode()))
        for place, target in image.links.items():
            info = tarfile.TarInfo(place.lstrip("/"))
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
        for place, path in image.files.items():
            tar.add(path, arcname=place.lstrip("/"), filter=_Owner(image.capabilities.get(place, 0)))


class _Owner:
    """Everything in an image is root's; some programs give capabilities."""

    def __init__(self, capabilities: int) -> None:
        self._capabilities = capabilities

    def __call__(self, info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if "__pycache__" in info.name:
            return None
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        if self._capabilities:
            info.pax_headers = {"SCHILY.xattr.security.capability": _vfs_capabilities(self._capabilities)}
        return info


def _vfs_capabilities(bits: int) -> str:
    """Return `struct vfs_cap_data` of version 2, permitted and effective, as tar keeps bytes in a text."""
    version_2_effective = 0x02000001
    packed = struct.pack("<5I", version_2_effective, bits & 0xFFFFFFFF, 0, bits >> 32, 0)
    return packed.decode("utf-8", "surrogateescape")


def _folder(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
    return info


def _add_blob(archive: tarfile.TarFile, kind: str, content: IO[bytes]) -> dict[str, Any]:
    content.seek(0)
    hashed, size = hashlib.sha256(), 0
    while chunk := content.read(_CHUNK_BYTES):
        hashed.update(chunk)
        size += len(chunk)
    digest = hashed.hexdigest()
    _add(archive, f"blobs/sha256/{digest}", content)
    return {"mediaType": _TYPE + kind, "digest": f"sha256:{digest}", "size": size}


def _add(archive: tarfile.TarFile, name: str, content: IO[bytes]) -> None:
    info = tarfile.TarInfo(name)
    info.size = content.seek(0, io.SEEK_END)
    content.seek(0)
    archive.addfile(info, content)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
