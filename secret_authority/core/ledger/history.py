"""The history of authority over all phases: the changes that follow from facts, and those of the audit trail.

Before phase 3 no engine writes events. When Git took a secret over follows from the commit that added its encrypted
file and from the record of phase 1; phases 2 and 4 move no authority. RFC-SECOPS-0001 §3.3 and §5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from secret_authority.core.catalogue.schema import Catalogue, CatalogueSecret, SecretClass
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.ledger import Facts, GitFact
from secret_authority.core.phases import Authority, Phase

NOBODY = "none"
# No engine and no transaction stands behind what follows from facts.
_NO_RUN = _NO_ID = "-"


def history(catalogue: Catalogue, facts: Facts, events: Iterable[Event]) -> list[Event]:
    """Every change of authority, in order of time.

    What would follow from a phase record that is younger than the secret's way to Vault is left out: the cluster
    was built again after it. What has no time, such as a file that is not committed yet, is left out as well.
    """
    told = list(events)
    in_vault: dict[str, str] = {}
    for event in sorted(told):
        if event.change.endswith(f"-> {Authority.VAULT}"):
            in_vault.setdefault(event.secret, event.at)
    for secret in catalogue.of_class(SecretClass.BOOTSTRAP):
        fact = facts.git.get(secret.name)
        end = in_vault.get(secret.name)
        if fact is not None:
            told += [event for event in _before_vault(secret, fact, facts) if end is None or event.at < end]
    return sorted(told)


def _before_vault(secret: CatalogueSecret, fact: GitFact, facts: Facts) -> Iterator[Event]:
    """Offline root, then Git; or Git at once for a file that came when the control plane was there."""
    added, reached = fact.added, facts.since.get(Phase.GITOPS)
    late = added is not None and reached is not None and added >= reached
    if added is not None:
        first = Authority.GIT if late else Authority.OFFLINE_ROOT
        yield _event(secret, fact, added, f"{NOBODY} -> {first}", "its encrypted file came to Git")
    if reached is not None and not late:
        why = f"phase {Phase.GITOPS.value} ({Phase.GITOPS.title}) is reached"
        yield _event(secret, fact, reached, f"{Authority.OFFLINE_ROOT} -> {Authority.GIT}", why)


def _event(secret: CatalogueSecret, fact: GitFact, at: datetime, change: str, why: str) -> Event:
    return Event(
        at=at.astimezone(UTC).isoformat(timespec="seconds"),
        secret=secret.name,
        change=f"authority {change}",
        why=why,
        run=_NO_RUN,
        result="done",
        id=_NO_ID,
        place=fact.file,
        digest="",
    )
