"""Times as the APIs of Vault and Kubernetes write them (RFC 3339, UTC)."""

from __future__ import annotations

from datetime import datetime


def api_time(text: str) -> datetime:
    """The time, UTC. Vault writes up to nine digits of a second; Python reads six. Raises ValueError."""
    head, _, rest = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{head}.{(rest + '000000')[:6]}+00:00")
