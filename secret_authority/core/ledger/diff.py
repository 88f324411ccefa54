"""What a change of Git does to authority: which secret is held by whom before and after.

It compares two sets of claims and two catalogues, location by location, and knows nothing of where they come from.
RFC-SECOPS-0001 §2: every transfer of authority is explicit and on record, so a reviewer sees it beforehand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from secret_authority.core.catalogue.schema import Catalogue, CatalogueSecret
from secret_authority.core.claims.conflicts import Claim, System
from secret_authority.core.claims.locations import Keys, Location


class Kind(StrEnum):
    """What happens to a secret, the most important first."""

    MOVES = "authority moves"
    CONTESTED = "gets a second authority"
    NEW = "new"
    GONE = "gone"
    ENTRY = "catalogue entry changes"
    KEYS = "keys change"
    WRITER = "same authority, other writer"


@dataclass(frozen=True)
class Change:
    """One line for the reviewer. `secret` is the catalogue's name, else the location."""

    kind: Kind
    secret: str
    before: str
    after: str

    def as_dict(self) -> dict[str, str]:
        return {"kind": self.kind.value, "secret": self.secret, "before": self.before, "after": self.after}


def ledger_diff(
    before: Iterable[Claim],
    after: Iterable[Claim],
    old: Mapping[str, Catalogue] | None = None,
    new: Mapping[str, Catalogue] | None = None,
) -> list[Change]:
    """Every change of authority between two states of Git; the most important first.

    `old` and `new` are the catalogues by cluster.
    """
    held, holds = _by_location(before), _by_location(after)
    clusters = {str(location.parts()[0]) for location in (*held, *holds)}
    several = len(clusters) > 1
    changes = [
        change
        for location in dict.fromkeys([*held, *holds])
        if (change := _compare(location, held.get(location, []), holds.get(location, []), several)) is not None
    ]
    changes += _entries(old or {}, new or {})
    order = list(Kind)
    return sorted(changes, key=lambda change: (order.index(change.kind), change.secret))


def _by_location(claims: Iterable[Claim]) -> dict[Location, list[Claim]]:
    found: dict[Location, list[Claim]] = defaultdict(list)
    for claim in dict.fromkeys(claims):
        found[claim.location].append(claim)
    return found


def _compare(location: Location, before: list[Claim], after: list[Claim], several: bool) -> Change | None:
    shown = f"{location} in {location.parts()[0]}" if several else str(location)
    names = sorted({claim.secret for claim in (*before, *after) if claim.secret})
    secret = f"{shown} ({', '.join(names)})" if names else shown
    systems, now = _systems(before), _systems(after)
    if not before:
        return Change(Kind.NEW, secret, "", _held_by(after))
    if not after:
        return Change(Kind.GONE, secret, _held_by(before), "")
    if systems != now:
        kind = Kind.CONTESTED if systems < now else Kind.MOVES
        return Change(kind, secret, _held_by(before), _held_by(after))
    if _keys(before) != _keys(after):
        return Change(Kind.KEYS, secret, _keys(before), _keys(after))
    if {c.claimant for c in before} != {c.claimant for c in after}:
        return Change(Kind.WRITER, secret, _subjects(before), _subjects(after))
    return None


def _systems(claims: Iterable[Claim]) -> frozenset[System]:
    return frozenset(claim.claimant.system for claim in claims)


def _held_by(claims: Iterable[Claim]) -> str:
    return ", ".join(sorted({str(claim.claimant) for claim in claims}))


def _subjects(claims: Iterable[Claim]) -> str:
    return ", ".join(sorted({claim.claimant.subject for claim in claims}))


def _keys(claims: Iterable[Claim]) -> str:
    listed = {claim.keys for claim in claims}
    known = frozenset().union(*(keys.names for keys in listed if keys.names is not None))
    return str(Keys.all()) if any(keys.names is None for keys in listed) else str(Keys(known))


def _entries(old: Mapping[str, Catalogue], new: Mapping[str, Catalogue]) -> list[Change]:
    """Entries that stay, with another class, owner, path or rotation. New and gone ones show as locations."""
    changes: list[Change] = []
    for cluster in sorted(set(old) & set(new)):
        was = {entry.name: entry for entry in old[cluster]}
        for entry in new[cluster]:
            if entry.name not in was:
                continue
            differences = _differences(was[entry.name], entry)
            if differences:
                shown = f"{entry.name} in {cluster}" if len(new) > 1 else entry.name
                before = "; ".join(f"{field} {value}" for field, value, _ in differences)
                after = "; ".join(f"{field} {value}" for field, _, value in differences)
                changes.append(Change(Kind.ENTRY, shown, before, after))
    return changes


def _differences(was: CatalogueSecret, now: CatalogueSecret) -> list[tuple[str, str, str]]:
    def fields(entry: CatalogueSecret) -> dict[str, str]:
        policy = entry.rotation.metadata() if entry.rotation else {}
        return {
            "class": entry.secret_class.value,
            "owner": entry.owner,
            "vault": str(entry.vault),
            "rotation": ", ".join(f"{key} {value}" for key, value in sorted(policy.items())) or "none",
        }

    before, after = fields(was), fields(now)
    return [(field, before[field], after[field]) for field in before if before[field] != after[field]]


def as_markdown(changes: Iterable[Change]) -> str:
    """A comment for a pull request. The first line is fixed, so that a later run finds and replaces it."""
    listed = list(changes)
    lines = ["<!-- secret-authority ledger -->", "### Authority over secrets", ""]
    moved = [change for change in listed if change.kind in (Kind.MOVES, Kind.CONTESTED)]
    if not listed:
        return "\n".join([*lines, "No secret changes its authority.", ""])
    count = f"{len(moved)} of {len(listed)} changes move authority." if moved else "No authority moves."
    lines += [count, "", "| secret | change | before | after |", "|---|---|---|---|"]
    lines += [
        "| " + " | ".join(_cell(text) for text in (c.secret, c.kind.value, c.before, c.after)) + " |" for c in listed
    ]
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ") or "–"
