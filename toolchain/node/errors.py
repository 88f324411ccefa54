"""The one error type of the local node."""

from __future__ import annotations

from toolchain.errors import ToolchainError


class NodeError(ToolchainError):
    """A step of the local node failed. The message names the part and the way out."""
