"""The table of images: which binary becomes which image."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass

from toolchain.node.errors import NodeError
from toolchain.node.layout import CHECKOUT

TABLE = CHECKOUT / "secret_authority/contract/images.toml"


@dataclass(frozen=True)
class Image:
    """An image of one static binary. `user` is "uid:gid"."""

    name: str
    tag: str
    binary: str
    path: str
    user: str

    @property
    def reference(self) -> str:
        return f"{self.name}:{self.tag}"


def load() -> list[Image]:
    """Every image of the table. Raises NodeError when an entry lacks a field or has one too many."""
    images = []
    for entry in tomllib.loads(TABLE.read_text())["image"]:
        try:
            images.append(Image(**entry))
        except TypeError as error:
            raise NodeError(f"{TABLE.name}: image {entry.get('name', '?')}: {error}") from error
    return images


def select(wanted: list[str] | tuple[str, ...]) -> list[Image]:
    """Images by full name, reference or name of the binary. Raises NodeError for an unknown one."""
    images = load()
    chosen = []
    for name in wanted:
        found = [image for image in images if name in (image.name, image.reference, image.binary)]
        if not found:
            known = ", ".join(image.binary for image in images)
            raise NodeError(f"image {name}: not in {TABLE.name}; known: {known}")
        chosen.extend(found)
    return chosen
