"""What a rotation leaves behind in words: metadata of the secret, and one event of the audit trail. No value.

Together they answer RFC-SECOPS-0001 §6.7: when was it rotated last, why, by which workflow, did it succeed.
"""

from __future__ import annotations

from datetime import datetime

from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.rotation.document import Document

GENERATION = "rotation_gen"
ID = "rotation_id"
AT = "rotated_at"
MARK = "rotated_mark"
TRIGGER = "rotation_trigger"
WHY = "rotation_why"
RUN = "rotation_run"
# KV v2 custom metadata: 1 to 512 bytes each.
_LIMIT = 512


def metadata(document: Document) -> dict[str, str]:
    """The custom metadata after this rotation has published a value; empty before."""
    if not document.published:
        return {}
    fields = {
        GENERATION: str(document.generation),
        ID: document.id,
        AT: document.published_at,
        MARK: document.published,
        TRIGGER: document.trigger,
        WHY: document.why,
        RUN: document.run,
    }
    return {key: _short(value) for key, value in fields.items() if value}


def _short(text: str) -> str:
    return text.encode()[:_LIMIT].decode(errors="ignore")


def event(document: Document, secret: str, place: str, digest: str, result: str, now: datetime) -> Event:
    """The event of a rotation that ends with this result."""
    return Event(
        at=now.isoformat(timespec="milliseconds"),
        secret=secret,
        change=f"value, generation {document.generation}",
        why=f"rotation ({document.trigger}): {document.why}",
        run=document.run,
        result=result,
        id=document.id,
        place=place,
        digest=digest,
    )
