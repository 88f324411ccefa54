"""What happens after a failure: `retry`, `alert` or `hold` (RFC-SECOPS-0001 §6.3; docs/rotation.md).

No failure ever revokes the old value. A target that cannot be reached is no failure and counts nothing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from secret_authority.core.rotation.document import Document, State

Strategy = Literal["retry", "alert", "hold"]
FIRST_BACKOFF = timedelta(seconds=30)
MOST_BACKOFF = timedelta(hours=1)


def backoff(failures: int, draw: float) -> timedelta:
    """How long to wait after so many failures in a row; `draw` in [0, 1) spreads it over the whole span."""
    doublings: int = 1 << min(max(failures, 1) - 1, 16)
    most = min(FIRST_BACKOFF * doublings, MOST_BACKOFF)
    return most * draw


def after_failure(document: Document, strategy: Strategy, error: str, now: datetime, draw: float) -> Document:
    """The document after a target refused, or did not accept what was applied. `error` holds no value."""
    text = error[:256]
    if strategy == "hold" and document.state in (State.PREPARED, State.PUBLISHED, State.RETIRING):
        if document.committed:
            return replace(document, state=State.HELD, held_from=document.state, error=text)
        return replace(document, state=State.HELD, ending=f"failed: {text}", parked=True, error=text)
    failures = document.failures + 1
    at = (now + backoff(failures, draw)).isoformat(timespec="milliseconds")
    return replace(document, failures=failures, next_try=at, error=text)


def alerts(document: Document, strategy: Strategy, started_late: timedelta, rotate_before: timedelta | None) -> bool:
    """Whether a person should hear of the failures so far. `started_late`: for how long it has been due."""
    if document.state is State.HELD or document.state is State.CONFLICT:
        return True
    if not document.failures:
        return False
    if strategy == "alert":
        return True
    return rotate_before is None or started_late >= rotate_before / 2
