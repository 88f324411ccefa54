"""The images in a node's containerd: list, import, and know what is there already."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from toolchain.node import image_archive as archive
from toolchain.node import image_table as table
from toolchain.node import layout
from toolchain.node.errors import NodeError
from toolchain.node.layout import Node
from toolchain.node.progress import Progress


def _ctr(socket: Path, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    command = ["ctr", "--address", str(socket), "--namespace", "k8s.io", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def listing(socket: Path) -> set[str] | None:
    """References of the images of this containerd, or None when it does not answer."""
    if not socket.exists():
        return None
    try:
        done = _ctr(socket, "--connect-timeout", "2s", "images", "list", "-q", timeout=5)
    except subprocess.TimeoutExpired:
        return None
    return set(done.stdout.split()) if done.returncode == 0 else None


def answers(node: Node) -> bool:
    """Whether containerd answers."""
    return listing(node.containerd_socket) is not None


def ensure(node: Node, wanted: Sequence[str], progress: Progress) -> list[str]:
    """Import the images that are missing or made from another binary. Returns their references."""
    present = listing(node.containerd_socket)
    if present is None:
        raise NodeError(f"node {node.name}: containerd does not answer; run `python3 -m toolchain.node up`")
    record = _Record(node)
    imported = []
    for image in table.select(list(wanted)):
        if image.reference in present and record.marks.get(image.reference) == fingerprint(image):
            continue
        record.set(image.reference, add(node.containerd_socket, image, node.state, progress))
        imported.append(image.reference)
    return imported


def add(socket: Path, image: table.Image, folder: Path, progress: Progress) -> str:
    """Make an image, with files of its own in `folder` meanwhile, and import it. Returns what it was made from."""
    program = layout.binary(image.binary).resolve()
    mark = fingerprint(image)
    progress.say(f"importing {image.reference} ({program.stat().st_size // 2**20} MiB)")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        target = Path(scratch, "image.tar")
        archive.write(image, program, target)
        import_archive(socket, target)
    return mark


def import_archive(socket: Path, path: Path) -> None:
    """Import an image archive. Raises NodeError with containerd's message."""
    done = _ctr(socket, "images", "import", str(path), timeout=600)
    if done.returncode:
        raise NodeError(f"import of {path.name}: {done.stderr.strip()}")


def fingerprint(image: table.Image) -> str:
    """What an image is made from."""
    facts = layout.binary(image.binary).resolve().stat()
    certificates = archive.CERTIFICATES.stat().st_mtime_ns if archive.CERTIFICATES.exists() else 0
    return f"1 {image.path} {image.user} {facts.st_size} {facts.st_mtime_ns} {certificates}"


def marks_of(node: Node) -> Path:
    """The file that says what each imported image was made from. It is gone with the images."""
    return node.state / "images.json"


class _Record:
    """What each imported image was made from."""

    def __init__(self, node: Node) -> None:
        self._path = marks_of(node)
        try:
            self.marks: dict[str, str] = json.loads(self._path.read_text())
        except (OSError, ValueError):
            self.marks = {}

    def set(self, reference: str, mark: str) -> None:
        self.marks[reference] = mark
        partial = self._path.with_suffix(".new")
        partial.write_text(json.dumps(self.marks, indent=2) + "\n")
        partial.rename(self._path)
