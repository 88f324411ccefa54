"""The one error of this package: it is meant for the user and names the fix."""

from __future__ import annotations


class ToolchainError(Exception):
    """Something the user can act on; the message is complete."""
