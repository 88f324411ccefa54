"""buildah with a storage of its own inside the checkout, so that the user's images stay apart."""

from __future__ import annotations

import subprocess
from pathlib import Path

from toolchain.node.errors import NodeError


class Storage:
    """A buildah storage below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def _buildah(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        where = ["--root", str(self.folder / "root"), "--runroot", str(self.folder / "run")]
        command = ["buildah", *where, "--storage-driver", "overlay", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def has(self, name: str) -> bool:
        return self._buildah("inspect", "--type", "image", name).returncode == 0

    def build(self, context: Path, recipe: Path, name: str, arguments: dict[str, str]) -> None:
        """Build an image. Same content, same image: the time of every file and of the image is fixed."""
        options = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        done = self._buildah(
            "build", "--isolation=chroot", "--layers", "--timestamp=0", "--pull-never", *options,
            "--file", str(recipe), "--tag", name, str(context),
        )  # fmt: skip
        if done.returncode:
            raise NodeError(f"image {name}: buildah failed: {done.stderr.strip()[-1200:]}")

    def save(self, name: str, target: Path) -> None:
        """Write the image as a docker archive under its own name."""
        done = self._buildah("push", "--quiet", name, f"docker-archive:{target}:{name}")
        if done.returncode:
            raise NodeError(f"image {name}: buildah failed: {done.stderr.strip()[-1200:]}")
