"""The images of upstream controllers, under their upstream names."""

from __future__ import annotations

import tomllib
from importlib import resources

from secret_authority import contract

# What the program runs of upstream, in the order of the phases; the rest of the table is the local node's.
_RUN = ("source-controller", "kustomize-controller", "vault", "external-secrets")


def controller_image(controller: str) -> str:
    """The image under its upstream name, at the version that is pinned."""
    images = tomllib.loads(resources.files(contract).joinpath("images.toml").read_text())
    (entry,) = [image for image in images["image"] if image["binary"] == controller]
    return f"{entry['name']}:{entry['tag']}"


def upstream_images() -> tuple[str, ...]:
    """Every image of upstream that the program runs."""
    return tuple(map(controller_image, _RUN))
