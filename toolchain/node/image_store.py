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


def _ctr(node: Node, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    command = ["ctr", "--address", str(node.containerd_socket), "--namespace", "k8s.io", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def listing(node: Node) -> set[str] | None:
    """References of the node's images, or None when containerd does not answer."""
    if not node.containerd_socket.exists():
        return None
    try:
        done = _ctr(node, "--connect-timeout", "2s", "images", "list", "-q", timeout=5)
    except subprocess.TimeoutExpired:
        return None
    return set(done.stdout.split()) if done.returncode == 0 else None


def answers(node: Node) -> bool:
    """Whether containerd answers."""
    return listing(node) is not None


def ensure(node: Node, wanted: Sequence[str], progress: Progress) -> list[str]:
    """Import the images that are missing or made from another binary. Returns their references."""
    present = listing(node)
    if present is None:
        raise NodeError(f"node {node.name}: containerd does not answer; run `python3 -m toolchain.node up`")
    record = _Record(node)
    imported = []
    for image in table.select(list(wanted)):
        program = layout.binary(image.binary).resolve()
        mark = _fingerprint(image, program)
        if image.reference in present and record.marks.get(image.reference) == mark:
            continue
        progress.say(f"importing {image.reference} ({program.stat().st_size // 2**20} MiB)")
        with tempfile.TemporaryDirectory(dir=node.state) as scratch:
            target = Path(scratch, "image.tar")
            archive.write(image, program, target)
            import_archive(node, target)
        record.set(image.reference, mark)
        imported.append(image.reference)
    return imported


def import_archive(node: Node, path: Path) -> None:
    """Import an image archive. Raises NodeError with containerd's message."""
    done = _ctr(node, "images", "import", str(path), timeout=600)
    if done.returncode:
        raise NodeError(f"import of {path.name} into node {node.name}: {done.stderr.strip()}")


def _fingerprint(image: table.Image, program: Path) -> str:
    facts = program.stat()
    certificates = archive.CERTIFICATES.stat().st_mtime_ns if archive.CERTIFICATES.exists() else 0
    return f"1 {image.path} {image.user} {facts.st_size} {facts.st_mtime_ns} {certificates}"


class _Record:
    """What each imported image was made from. It lies beside the images and dies with them."""

    def __init__(self, node: Node) -> None:
        self._path = node.state / "images.json"
        try:
            self.marks: dict[str, str] = json.loads(self._path.read_text())
        except (OSError, ValueError):
            self.marks = {}

    def set(self, reference: str, mark: str) -> None:
        self.marks[reference] = mark
        partial = self._path.with_suffix(".new")
        partial.write_text(json.dumps(self.marks, indent=2) + "\n")
        partial.rename(self._path)
