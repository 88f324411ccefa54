"""Whether a cluster survives the loss of one of its failure domains now, judged from what was seen. RFC §3.5.

Each domain has questions. An answer is yes, no, or unknown with its reason, and unknown is never a yes. A domain is
survived when every one of its answers is yes. Decided from facts alone; nothing is asked here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from secret_authority.core.conditions import Condition
from secret_authority.core.phases import Authority, Phase

# A change in Vault is saved within this time (RPO).
SAVED_WITHIN = timedelta(minutes=5)


class Domain(StrEnum):
    """What may be lost."""

    GIT = "Git is away"
    VAULT = "Vault is sealed or killed"
    CLUSTER = "the cluster is lost"
    PEOPLE = "somebody makes a mistake"


@dataclass(frozen=True)
class Answer:
    """`holds` is None for what is not known; `why` says what was seen, or why nothing was."""

    holds: bool | None
    why: str

    @property
    def word(self) -> str:
        return {True: "yes", False: "NO", None: "unknown"}[self.holds]


@dataclass(frozen=True)
class Line:
    """One question and its answer."""

    domain: Domain
    question: str
    answer: Answer


@dataclass(frozen=True)
class Holder:
    """The ledger's word on a secret: None for its authority while it has no value, or when it is not known."""

    secret: str
    authority: Authority | None
    known: bool = True


@dataclass(frozen=True)
class Restored:
    """What a restore of the newest snapshot on this machine has shown.

    `whole`: that it opened with the cluster's unseal shares and holds what its manifest says. `changed`: the paths of
    Vault that are not in it as they are now; None when Vault could not be asked, `changed_why` says why.
    """

    whole: Answer
    taken_at: datetime | None = None
    changed: Sequence[str] | None = None
    changed_why: str = ""


@dataclass(frozen=True)
class Seen:
    """What was seen. `conditions` by engine and name; an engine that has published nothing is absent.

    `phase` is None for a cluster whose answers cannot be used, `contradictions` says why. `rotated`: whether any secret
    has a rotator. `recipients`: whether the cluster has those of Git on record. `identity`: whether the given root
    identity opens the cluster's. `shares`: whether it opens the shares that are stored in the cluster. `exported`:
    whether Git has these shares. `store`: whether the store answers; `snapshots`: when each complete one was taken,
    oldest first.
    """

    now: datetime
    phase: Phase | None
    contradictions: Answer
    recipients: Answer
    identity: Answer
    shares: Answer
    exported: Answer
    store: Answer
    restored: Restored
    rotated: bool = False
    holders: Sequence[Holder] = ()
    conditions: Mapping[str, Mapping[str, Condition]] = field(default_factory=dict)
    snapshots: Sequence[datetime] = ()


@dataclass(frozen=True)
class Part:
    """A part of an engine: under what it publishes, and the conditions that show that it works."""

    published: str
    conditions: tuple[str, ...]


@dataclass(frozen=True)
class Parts:
    """The parts of the engines on which a cluster without Git, or with a sealed Vault, depends."""

    authority: Part
    unsealing: Part
    consumption: Part
    delivery: Part
    rotation: Part


def judge(seen: Seen, parts: Parts) -> list[Line]:
    """Every question with its answer, by domain. The last of them follow from those before."""
    lines = [*_git(seen, parts), *_vault(seen, parts), *_cluster(seen)]
    return [*lines, *_people(seen, verdict(lines, Domain.CLUSTER))]


def verdict(lines: Sequence[Line], domain: Domain) -> bool | None:
    """Whether the domain is survived: no when any answer is no, unknown when any is unknown."""
    found = [line.answer.holds for line in lines if line.domain is domain]
    if not found or False in found:
        return False if found else None
    return None if None in found else True


def all_survived(lines: Sequence[Line]) -> bool:
    return all(verdict(lines, domain) is True for domain in Domain)


def newest_snapshot(seen: Seen) -> list[Line]:
    """The two questions that a restore of the newest snapshot answers."""
    whole = Line(Domain.CLUSTER, "the newest snapshot can be restored", seen.restored.whole)
    return [whole, Line(Domain.CLUSTER, "what would be lost now (RPO)", _lost(seen))]


def text(lines: Sequence[Line], domains: Iterable[Domain] = Domain) -> list[str]:
    """For people: a line for each domain, and below it one for each question."""
    words = {True: "survived", False: "NOT SURVIVED", None: "UNKNOWN"}
    shown: list[str] = []
    for domain in domains:
        shown.append(f"{domain}: {words[verdict(lines, domain)]}")
        for line in lines:
            if line.domain is domain:
                shown.append(f"  {line.answer.word:<8} {line.question}: {line.answer.why}")
    return shown


def as_dict(lines: Sequence[Line], domains: Iterable[Domain] = Domain) -> list[dict[str, Any]]:
    """For programs. `survived` and `holds` are null for what is not known."""
    return [
        {
            "domain": domain.name.lower(),
            "survived": verdict(lines, domain),
            "answers": [
                {"question": line.question, "holds": line.answer.holds, "why": line.answer.why}
                for line in lines
                if line.domain is domain
            ],
        }
        for domain in domains
    ]


def _git(seen: Seen, parts: Parts) -> Iterator[Line]:
    def line(question: str, answer: Answer) -> Line:
        return Line(Domain.GIT, question, answer)

    yield line("Vault is the authority of every secret", _handed_over(seen))
    yield line("Vault is unsealed by the cluster alone", _works(seen, parts.authority))
    yield line("values are delivered by the cluster alone", _works(seen, parts.consumption))
    if seen.rotated:
        yield line("secrets are rotated by the cluster alone", _works(seen, parts.rotation))


def _vault(seen: Seen, parts: Parts) -> Iterator[Line]:
    def line(question: str, answer: Answer) -> Line:
        return Line(Domain.VAULT, question, answer)

    yield line("the engine opens Vault after a restart", _works(seen, parts.unsealing))
    yield line("a root holder opens Vault without the engine", seen.shares)
    yield line("the stored shares open what Vault has saved", seen.restored.whole)
    yield line("workloads have their Secrets", _works(seen, parts.delivery))


def _cluster(seen: Seen) -> Iterator[Line]:
    def line(question: str, answer: Answer) -> Line:
        return Line(Domain.CLUSTER, question, answer)

    yield line("a root holder opens the cluster's identity in Git", seen.identity)
    yield line("Git has the unseal shares of this Vault", seen.exported)
    yield line("the store of snapshots answers without Vault", seen.store)
    yield from newest_snapshot(seen)


def _people(seen: Seen, rebuilt: bool | None) -> Iterator[Line]:
    def line(question: str, answer: Answer) -> Line:
        return Line(Domain.PEOPLE, question, answer)

    yield line("the cluster is the one of this repository, in this state", seen.contradictions)
    yield line("the cluster knows the recipients, so that an older Git is refused", seen.recipients)
    yield line("a value can be set back to what it was", _earlier(seen))
    why = {
        True: "as if the cluster was lost",
        False: "the cluster's loss is not survived",
        None: "see the lost cluster",
    }
    yield line("what is deleted or destroyed comes back", Answer(rebuilt, why[rebuilt]))


def _handed_over(seen: Seen) -> Answer:
    if seen.phase is None:
        return Answer(None, seen.contradictions.why)
    if seen.phase < Phase.RUNTIME_AUTHORITY:
        return Answer(
            False, f"the cluster is at phase {seen.phase.value} ({seen.phase.title}); Vault comes with phase 3"
        )
    unknown = [one.secret for one in seen.holders if not one.known]
    if unknown:
        return Answer(None, f"not known of {_some(unknown)}; see `secret-authority ledger`")
    git = [one.secret for one in seen.holders if one.authority is Authority.GIT]
    if git:
        return Answer(False, f"{_some(git)}: Git is the authority; see `secret-authority ledger`")
    # Git has nothing of a secret that has no value yet: it gets one in Vault.
    unborn = [one.secret for one in seen.holders if one.authority is None]
    note = f"; without a value: {_some(unborn)}" if unborn else ""
    return Answer(True, f"{len(seen.holders) - len(unborn)} secrets{note}")


def _works(seen: Seen, part: Part) -> Answer:
    """Whether it works now. An engine has its settings from the cluster; none of these parts asks Git."""
    if seen.phase is None:
        return Answer(None, seen.contradictions.why)
    published = seen.conditions.get(part.published)
    if published is None:
        return Answer(None, f"ConfigMap {part.published} is not there: the engine has published nothing")
    unknown: list[str] = []
    for name in part.conditions:
        found = published.get(name)
        known = None if found is None else found.known(seen.now)
        if found is not None and known is False:
            return Answer(False, f"{name} is false: {found.message}")
        if known is None:
            unknown.append(name)
    if unknown:
        return Answer(None, f"{', '.join(unknown)}: not observed within the last minutes")
    return Answer(True, f"{', '.join(part.conditions)} observed")


def _lost(seen: Seen) -> Answer:
    """What has changed after the newest snapshot. What is older than it should be is not survived."""
    restored = seen.restored
    if restored.taken_at is None:
        return Answer(None, restored.whole.why)
    age = seen.now - restored.taken_at
    taken = f"the newest snapshot is {_age(age)} old"
    if restored.changed is None:
        return Answer(None, f"{taken}; whether anything has changed since is not known: {restored.changed_why}")
    if not restored.changed:
        return Answer(True, f"nothing; {taken}")
    what = f"{len(restored.changed)} changes, of {_some(restored.changed)}; {taken}"
    return Answer(age <= SAVED_WITHIN, what if age <= SAVED_WITHIN else f"{what}: `secret-authority snapshot now`")


def _earlier(seen: Seen) -> Answer:
    if seen.store.holds is not True:
        return seen.store
    if len(seen.snapshots) < 2:
        return Answer(False, f"{len(seen.snapshots)} snapshots are in the store, and none is older than the newest")
    back = _age(seen.now - seen.snapshots[0])
    return Answer(True, f"{len(seen.snapshots)} snapshots of the last {back}; see docs/runbooks/restore.md")


def _age(age: timedelta) -> str:
    minutes = max(0, int(age.total_seconds() // 60))
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{minutes // 60} hours" if minutes < 2880 else f"{minutes // 1440} days"


def _some(names: Sequence[str]) -> str:
    """The first three, and how many more."""
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")
