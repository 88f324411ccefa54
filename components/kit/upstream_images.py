"""The images of upstream controllers, under their upstream names."""

from __future__ import annotations

import tomllib
from importlib import resources

from secret_authority import contract


def controller_image(controller: str) -> str:
    """The image under its upstream name, at the version that is pinned."""
    images = tomllib.loads(resources.files(contract).joinpath("images.toml").read_text())
    (entry,) = [image for image in images["image"] if image["binary"] == controller]
    return f"{entry['name']}:{entry['tag']}"
