"""Writes an image of one static binary as a docker archive. Same input, same bytes.

Format: Docker Image Specification v1.2, "combined image JSON + filesystem changeset".
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

from toolchain.node.image_table import Image

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
SEARCH_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CREATED = "1970-01-01T00:00:00Z"


class _HashingFile(io.FileIO):
    """A file that knows the SHA-256 of what was written to it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w")
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.digest.update(data)
        super().write(data)
        return len(data)


def write(image: Image, program: Path, target: Path) -> None:
    """Write the archive of `image` with the file `program` to `target`. Needs twice the program's size."""
    layer = target.with_suffix(".layer")
    try:
        digest = _write_layer(image, program, layer)
        config = json.dumps(_config(image, digest), sort_keys=True).encode()
        config_name = f"{hashlib.sha256(config).hexdigest()}.json"
        manifest = [{"Config": config_name, "RepoTags": [image.reference], "Layers": ["layer.tar"]}]
        with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
            _add_bytes(archive, "manifest.json", json.dumps(manifest).encode())
            _add_bytes(archive, config_name, config)
            with layer.open("rb") as stream:
                archive.addfile(_entry("layer.tar", layer.stat().st_size, 0o644), stream)
    finally:
        layer.unlink(missing_ok=True)


def _config(image: Image, layer_digest: str) -> dict[str, object]:
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": CREATED,
        "config": {
            "User": image.user,
            "Env": [SEARCH_PATH],
            "Entrypoint": [image.path],
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
    }


def _write_layer(image: Image, program: Path, target: Path) -> str:
    user, group = image.user.split(":")
    with _HashingFile(target) as sink, tarfile.open(fileobj=sink, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
        folders = {"tmp", "etc", "etc/ssl", "etc/ssl/certs"}
        folders.update(str(parent).strip("/") for parent in Path(image.path).parents if str(parent) != "/")
        for folder in sorted(folders):
            entry = _entry(folder, 0, 0o1777 if folder == "tmp" else 0o755)
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        passwd = f"root:x:0:0:root:/root:/sbin/nologin\nprogram:x:{user}:{group}:program:/:/sbin/nologin\n"
        _add_bytes(tar, "etc/passwd", passwd.encode())
        _add_bytes(tar, "etc/group", f"root:x:0:\nprogram:x:{group}:\n".encode())
        if CERTIFICATES.exists():
            _add_bytes(tar, "etc/ssl/certs/ca-certificates.crt", CERTIFICATES.read_bytes())
        with program.open("rb") as stream:
            tar.addfile(_entry(image.path.strip("/"), program.stat().st_size, 0o755), stream)
    return sink.digest.hexdigest()


def _entry(name: str, size: int, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, mode
    return entry


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    tar.addfile(_entry(name, len(content), 0o644), io.BytesIO(content))
