"""Pulumi's home for tests, without the logs that take two fifths of its processor time."""

from __future__ import annotations

from pathlib import Path


def pulumi_home(folder: Path) -> str:
    """PULUMI_HOME below `folder`: pulumi writes an encrypted log of each run wherever it can make a folder for it.

    There is no switch for that but a file in the folder's place.
    """
    home = folder / "pulumi-home"
    home.mkdir(parents=True, exist_ok=True)
    (home / "logs").touch()
    return str(home)
