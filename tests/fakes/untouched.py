"""A server that must not be spoken to."""

from __future__ import annotations

from typing import Any


class Untouched:
    """Stands for a server that must not be spoken to."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the server was spoken to: {name}")
