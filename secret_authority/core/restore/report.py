"""What a restore means for each secret, before it is done and after: compared with every witness outside of Vault.

A snapshot is always older than what it replaces. What changed afterwards is known from outside only: from the signed
copy of the audit trail, and from the manifests of newer bundles. Silence of a witness that is not there is no evidence,
and the report says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from secret_authority.core.catalogue.schema import Catalogue, CatalogueSecret, SecretClass
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.snapshots.manifest import Manifest, SavedSecret


class Outcome(StrEnum):
    """What becomes of a secret."""

    SAME = "same"  # no witness knows a newer value than the snapshot's
    OLDER = "older value"  # it was changed after the snapshot; its target has to accept the older value
    FROM_GIT = "from Git"  # not in the snapshot; Git's value is handed over again
    MINTED = "minted anew"  # not in the snapshot; generated again in the cluster
    ENTER = "enter again"  # the newest value is in nobody's hands but its issuer's
    LOST = "lost"  # the newest value is nowhere, and the catalogue names no way to another one


@dataclass(frozen=True)
class Line:
    """One secret of the report. `why` names the witness."""

    secret: str
    outcome: Outcome
    why: str = ""


@dataclass(frozen=True)
class Witnesses:
    """What is known outside of Vault. `events`: the signed published trail, None when there is none.

    `newer`: manifests of newer bundles of the same Vault.
    """

    events: tuple[Event, ...] | None = None
    newer: tuple[Manifest, ...] = ()


@dataclass(frozen=True)
class Report:
    """Every secret of the catalogue, in its order. `strangers`: paths in the snapshot that no entry names."""

    lines: tuple[Line, ...]
    strangers: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def of(self, outcome: Outcome) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.outcome is outcome)

    @property
    def losses(self) -> tuple[Line, ...]:
        """Those whose newest value does not come back."""
        return tuple(line for line in self.lines if line.outcome is not Outcome.SAME)


def of_snapshot(catalogue: Catalogue, manifest: Manifest, witnesses: Witnesses) -> Report:
    """What a restore of this snapshot gives back, and what not."""
    saved = {secret.location: secret for secret in manifest.secrets}
    lines = tuple(_line(entry, saved.get(str(entry.vault)), manifest, witnesses) for entry in catalogue)
    named = {str(entry.vault) for entry in catalogue}
    mounts = {entry.vault.mount for entry in catalogue}
    strangers = sorted(place for place in saved if place not in named and place.partition("/")[0] in mounts)
    notes = []
    if witnesses.events is None and not witnesses.newer:
        notes.append(
            f"nothing outside of Vault says what changed after {_when(manifest.taken_at)}; newer values, if there "
            "were any, are lost without being named here"
        )
    return Report(lines, tuple(strangers), tuple(notes))


def without_snapshot(catalogue: Catalogue, handed_over: Iterable[str], events: Sequence[Event] | None = None) -> Report:
    """What a rebuild from Git alone gives back. `handed_over`: the secrets of which Git says that Vault has them."""
    gone = frozenset(handed_over)
    return Report(tuple(_from_nothing(entry, gone, events) for entry in catalogue))


def _line(entry: CatalogueSecret, saved: SavedSecret | None, manifest: Manifest, witnesses: Witnesses) -> Line:
    changed = _changed(entry, saved, manifest, witnesses)
    if saved is None:
        made_again = {
            SecretClass.BOOTSTRAP: Outcome.FROM_GIT,
            SecretClass.INTERNAL: Outcome.MINTED,
            SecretClass.EXTERNAL: Outcome.ENTER,
            SecretClass.CONFIG: Outcome.FROM_GIT,
        }[entry.secret_class]
        return Line(entry.name, made_again, changed or "it is not in the snapshot")
    if not changed:
        return Line(entry.name, Outcome.SAME)
    if entry.secret_class is SecretClass.EXTERNAL:
        return Line(entry.name, Outcome.ENTER, changed)
    if entry.secret_class is SecretClass.CONFIG:
        return Line(entry.name, Outcome.OLDER, changed)
    return Line(entry.name, Outcome.OLDER if entry.rotator else Outcome.LOST, changed)


def _changed(entry: CatalogueSecret, saved: SavedSecret | None, manifest: Manifest, witnesses: Witnesses) -> str:
    """Which witness knows a newer value than the snapshot has; empty for none."""
    place = str(entry.vault)
    later = [
        event
        for event in witnesses.events or ()
        if event.secret == entry.name and event.result.startswith("done") and _after(event, manifest.taken_at)
    ]
    if later:
        last = max(later)
        return f"{last.change} at {last.at}, after the snapshot"
    for other in witnesses.newer:
        found = next((secret for secret in other.secrets if secret.location == place), None)
        if found is not None and (saved is None or found.mark != saved.mark):
            return f"the snapshot of {_when(other.taken_at)} has another value"
    return ""


def _after(event: Event, taken_at: datetime) -> bool:
    """Whether the event may be newer than the snapshot. An unreadable time is."""
    try:
        return datetime.fromisoformat(event.at) >= taken_at
    except (ValueError, TypeError):
        return True


def _from_nothing(entry: CatalogueSecret, gone: frozenset[str], events: Sequence[Event] | None) -> Line:
    value_changes = [e for e in events or () if e.secret == entry.name and e.change.startswith("value")]
    match entry.secret_class:
        case SecretClass.EXTERNAL:
            return Line(entry.name, Outcome.ENTER, "it was entered into Vault alone")
        case SecretClass.INTERNAL:
            return Line(entry.name, Outcome.MINTED, "it was generated in Vault alone")
        case SecretClass.CONFIG:
            return Line(entry.name, Outcome.SAME)
    if value_changes:
        return Line(entry.name, Outcome.FROM_GIT, f"{max(value_changes).change}: Git has an older value")
    if entry.rotator is not None and entry.name in gone:
        return Line(entry.name, Outcome.FROM_GIT, "it may have been rotated in Vault: Git may have an older value")
    return Line(entry.name, Outcome.SAME)


def text(report: Report) -> list[str]:
    """The report for people, one line each; what comes back unchanged is counted only."""
    lines = [f"  {line.secret}: {line.outcome}" + (f" ({line.why})" if line.why else "") for line in report.losses]
    same = len(report.of(Outcome.SAME))
    lines.append(f"  {same} of {len(report.lines)} secrets: {Outcome.SAME}")
    lines += [f"  {place}: in the snapshot, and no entry of the catalogue names it" for place in report.strangers]
    return [*lines, *(f"  note: {note}" for note in report.notes)]


def as_dict(report: Report) -> Mapping[str, object]:
    """The report for programs."""
    return {
        "secrets": {line.secret: {"outcome": line.outcome.value, "why": line.why} for line in report.lines},
        "strangers": list(report.strangers),
        "notes": list(report.notes),
    }


def _when(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
