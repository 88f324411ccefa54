"""Reads upstream manifests, read-only files of a pinned module, by libyaml where it is there: they are large."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def documents(file: Path) -> list[dict[str, Any]]:
    """The documents of a file that are not empty."""
    return [document for document in yaml.load_all(file.read_text(), Loader=_LOADER) if document]
