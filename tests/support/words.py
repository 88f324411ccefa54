"""What the core says to people and to other programs, case by case, for a record of it.

`python -m tests.support.words` writes the record again; the change then shows in review.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from secret_authority.core.catalogue.schema import SecretClass, parse_catalogue
from secret_authority.core.claims.conflicts import Claim, Claimant, System, find_conflicts, find_reverse_flows
from secret_authority.core.claims.from_catalogue import catalogue_claims
from secret_authority.core.claims.locations import Keys, KubernetesSecret, StoreSecret, Unknown, VaultSecret
from secret_authority.core.claims.serialization import decode_claim, encode_claim
from secret_authority.core.digest import KEY_BYTES
from secret_authority.core.evidence import Evidence, EvidenceResult, Outcome
from secret_authority.core.handover import state_machine as machine
from secret_authority.core.ledger.audit_trail import (
    Event,
    Mismatch,
    entered,
    handed_over,
    match_vault_log,
    restored,
    shares_stored,
    table,
)
from secret_authority.core.ledger.consistency import ClusterFacts, RepositoryFacts, contradictions, trail_mismatches
from secret_authority.core.ledger.diff import Change, Kind, as_markdown, ledger_diff
from secret_authority.core.ledger.history import history
from secret_authority.core.ledger.ledger import ConsumptionFacts, Facts, GitFact, VaultRecord, ledger
from secret_authority.core.ledger.ledger import table as ledger_table
from secret_authority.core.ledger.lifecycle import RotationFact, ValueFacts
from secret_authority.core.ledger.published_trail import PublishedTrail, piece_name, pieces
from secret_authority.core.ledger.trail_signature import SEED_BYTES, TrailSigner
from secret_authority.core.phases import Phase, PhaseRefusedError, check_transition, parse_phase

RECORD = Path(__file__).parents[1] / "fixtures/words.json"
EARLY, LATER = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
_KEYS = ("AUTHORITY", "ID", "DIGEST", "AT", "RUN", "REVISION", "SECRET", "BASE64_KEYS", "METADATA_VALUE_LIMIT")


def document(**change: Any) -> dict[str, Any]:
    def secret(name: str, kind: str, **more: Any) -> dict[str, Any]:
        entry = {
            "name": name,
            "class": kind,
            "owner": "team",
            "vault": {"datasource": name, "consumer": "app"},
            "rotation": {"type": "static"},
            "consumers": [{"namespace": "shop", "secret": name, "keys": {"K": "k"}}],
        }
        return {**entry, **more, **change.get(name, {})}

    born = secret("born", "bootstrap", bootstrap={"namespace": "boot", "secret": "born", "keys": ["k"]})
    config = secret("config", "config", vault={"datasource": "config", "instance": "app"})
    if "config" not in change:
        del config["rotation"]
    return {
        "apiVersion": "secret-authority.dev/v1",
        "kind": "SecretCatalogue",
        "bootstrapNamespaces": ["boot"],
        "secrets": [born, secret("internal", "internal"), secret("external", "external"), config],
    }


CATALOGUE = parse_catalogue(document(), "catalogue.yaml")


def event(at: str, secret: str, change: str, id: str, **more: str) -> Event:
    return Event(at, secret, change, "why", "run", "done", id, f"platform-data/{secret}/app", "d", **more)


TO_VAULT = "authority git -> vault"
BORN = event("2026-02-01T00:00:00.000+00:00", "born", TO_VAULT, "ho-1")


def _enumerations() -> dict[str, Any]:
    def members(kind: type[Enum]) -> dict[str, Any]:
        return {member.name: list(member.value) if isinstance(member.value, tuple) else member.value for member in kind}

    kinds = (System, machine.Step, machine.Wait, machine.Reason, machine.Notice, Outcome, Kind)
    return {kind.__name__: members(kind) for kind in kinds} | {
        "metadata": {name: getattr(machine, name) for name in _KEYS},
        "ids": [machine.handover_id("dev", "born", "a/b"), machine.handover_id("dev", "bor", "na/b")],
        "defaults": [
            repr(machine.Blocked("born", machine.Reason.NOT_IN_GIT)),
            repr(machine.InGit(unknown=machine.Reason.GIT_AWAY)),
        ],
        "sizes": [SEED_BYTES, KEY_BYTES],
        "pieces": [piece_name(0), piece_name(1)],
    }


def _error(act: Callable[[], object]) -> str:
    try:
        return repr(act())
    except ValueError as error:
        return str(error)


def _claims() -> dict[str, Any]:
    secret, vault = KubernetesSecret("dev", "shop", "db"), VaultSecret("dev", "data", "db/app")
    store, hidden = StoreSecret("AWS", "1", "db"), KubernetesSecret("dev", Unknown("metadata.namespace", "a-*"), "db")
    one, other = Claimant(System.GIT, "file a"), Claimant(System.VAULT, "secret db", shown="OpenBao")
    same = (Claimant(System.HELM, "x", "b.yaml"), Claimant(System.HELM, "x", "a.yaml"))
    pairs = [
        (Claim(one, secret, Keys.of("b", "a"), secret="db"), Claim(other, secret, Keys.all(), secret="app")),
        (Claim(one, secret, Keys.of("a", "b")), Claim(other, secret, Keys.of("b", "c", "a"))),
        (Claim(same[0], secret, Keys.all()), Claim(same[1], secret, Keys.all())),
        (
            Claim(one, secret, Keys.all()),
            Claim(other, KubernetesSecret("dev", Unknown("ns"), Unknown("name")), Keys.all()),
        ),
        (Claim(one, secret, Keys(frozenset(), Unknown("data"))), Claim(other, secret, Keys.of("a"), secret="db")),
        (Claim(one, secret, Keys(frozenset())), Claim(other, secret, Keys.all())),
    ]
    up = Claim(Claimant(System.PUSH_SECRET, "push"), vault, Keys.all(), source=secret)
    down = Claim(Claimant(System.EXTERNAL_SECRETS, "es"), secret, Keys.all(), source=vault)
    copy = Claim(Claimant(System.MIRROR, "m"), secret, Keys.all(), source=store)
    everything = [*(claim for pair in pairs for claim in pair), up, down, copy]
    return {
        "conflicts": [str(conflict) for pair in pairs for conflict in find_conflicts(pair)],
        "reverse": [str(flow) for claims in ((up, down), (up, copy)) for flow in find_reverse_flows(claims)],
        "locations": [str(location) for location in (secret, vault, store, hidden)],
        "keys": [str(keys) for keys in (Keys.all(), Keys.of("b", "a"), Keys(frozenset("a"), Unknown("data")))],
        "encoded": [encode_claim(claim) for claim in everything],
        "decoded": [repr(decode_claim(encode_claim(claim))) for claim in (up, down, copy)],
        "undecodable": [
            _error(partial(decode_claim, broken))
            for broken in (
                {},
                {**encode_claim(up), "system": "X"},
                {**encode_claim(up), "place": {"kind": "x", "parts": ["a", "b", "c"]}},
                {**encode_claim(up), "place": {"kind": "vault", "parts": ["a", "b"]}},
                {**encode_claim(up), "place": {"kind": "vault", "parts": ["a", "b", {}]}},
            )
        ],
        "of the catalogue": [str(encode_claim(claim)) for claim in catalogue_claims("dev", CATALOGUE)],
    }


def _ledger() -> Iterator[Any]:
    git, file = {"born": GitFact("born.yaml", EARLY)}, {"config": GitFact("config.yaml", LATER)}
    records = {name: VaultRecord("run", LATER, f"platform-data/{name}/app") for name in ("born", "internal")}
    twice = {"born": replace(records["born"], others=("x/y",)), "internal": replace(records["internal"], place="x/z")}
    found = ConsumptionFacts({"config": 3}, frozenset())
    for phase, vault, config, consumption, asked in product(
        Phase,
        ({}, records, twice, None),
        ({}, file),
        (None, found, ConsumptionFacts({}, frozenset({"config"}))),
        (True, False),
    ):
        facts = Facts(phase, {Phase.GITOPS: LATER}, git, vault, config, consumption, {"born": "broken"}, asked)
        for entry in ledger(CATALOGUE, facts):
            fields = {**entry.as_dict(), "holder": entry.holder}
            yield {
                name: fields[name]
                for name in sorted(fields)
                if name not in ("age_seconds", "due", "last_result", "unknown")
            }
    now = LATER + timedelta(days=2, hours=3)
    values = ValueFacts({"born": LATER}, {"born": "done"})
    for rotation in (None, {}, {"born": RotationFact(LATER + timedelta(days=1), now + timedelta(days=1))}):
        facts = Facts(Phase.CONSUMPTION, {}, git, records, file, found, {"born": "broken"}, True, values, rotation, now)
        yield ledger_table(ledger(CATALOGUE, facts)).splitlines()
        yield [entry.as_dict() for entry in ledger(CATALOGUE, facts)]
    for since, added in product((None, EARLY, LATER), (None, EARLY + timedelta(days=3))):
        facts = Facts(Phase.GITOPS, {Phase.GITOPS: since} if since else {}, {"born": GitFact("born.yaml", added)}, {})
        yield [change.line() for change in history(CATALOGUE, facts, [BORN] if since == LATER else [])]


def _trail() -> dict[str, Any]:
    record = machine.Record("ho-1", "born", "hmac:x", "2026-02-01T00:00:00.000+00:00", "run", None)
    first = event("2026-02-02T00:00:00.000+00:00", "internal", "authority none -> vault", "fw-1")
    again, value = (
        replace(BORN, id="ho-2", at="2026-02-03T00:00:00.000+00:00"),
        replace(BORN, change="value replaced", id="x"),
    )
    at = datetime(2026, 2, 1, 1, 2, 3, 456000, UTC)
    log = [
        json.dumps({"type": "request", "time": "2026-02-01T00:00:00Z", "request": {"operation": "patch"}}),
        json.dumps(
            {"type": "response", "time": "2026-02-01T00:00:00Z", "error": "x", "request": {"operation": "patch"}}
        ),
        json.dumps({"type": "response", "time": "2026-02-01T00:00:00Z", "request": {"operation": "read"}}),
        json.dumps({"type": "response", "request": {"operation": "patch"}, "response": {"data": {"error": "x"}}}),
        json.dumps(
            {
                "type": "response",
                "time": "2026-02-01T00:00:00.5Z",
                "request": {
                    "operation": "patch",
                    "path": "platform-data/metadata/other",
                    "data": {"custom_metadata": {"handover_id": "hmac-2"}},
                },
            }
        ),
    ]
    events = [BORN, first, again, value]
    published = PublishedTrail((BORN, event("2026-01-01T00:00:00.000+00:00", "gone", TO_VAULT, "ho-9")), "key")
    return {
        "events": [
            replace(handed_over(record, "a/b"), digest="").line(),
            handed_over(replace(record, revision="main@sha1:1"), "a/b").line(),
            entered("external", "a/b", 1, at, "ada").line(),
            entered("external", "a/b", 2, at, "").line(),
            restored("dev/1", "2026-02-01T01:00:00+01:00", "ada").line(),
            shares_stored("uid", "vault/shares", at, "because", "ada").line(),
        ],
        # Readers of another release check this signature.
        "published": pieces(events, TrailSigner(b"s" * SEED_BYTES)),
        "table": table([first, replace(BORN, person="ada")]).splitlines(),
        "log": [str(found) for found in match_vault_log(events, log, {}, timedelta(seconds=5))] + [str(Mismatch("x"))],
        "mismatches": trail_mismatches(events, {"a/b": "ho-3", "platform-data/born/app": "ho-4"}, published),
    }


def _contradictions() -> Iterator[list[str]]:
    trail = PublishedTrail((BORN,), "key")
    repository = RepositoryFacts("dev", "age1dev", {"born": "ho-1"}, "key")
    several = RepositoryFacts("dev", "age1dev", {"born": "ho-7", "other": "ho-8"}, "another")
    bare = RepositoryFacts("dev", "age1dev")
    built = ClusterFacts(True, tuple(Phase)[1:], (), True, "age1dev", trail)
    clusters = (
        ClusterFacts(False),
        built,
        replace(
            built, recipient="age1other", phases=(Phase.GITOPS, Phase.CONSUMPTION), strange_records=("ConfigMap x",)
        ),
        replace(built, recipient=None, phases=(), trail_problem="the trail is cut"),
        replace(built, trail=None),
        replace(built, trail=None, vault_built=False, phases=(Phase.GITOPS, Phase.BOOTSTRAP)),
        replace(built, trail=None, phases=(Phase.GITOPS, Phase.BOOTSTRAP)),
        replace(built, trail=None, vault_built=False, phases=()),
    )
    for cluster, facts in product(clusters, (repository, several, bare)):
        yield contradictions(cluster, facts)


def _diff() -> dict[str, Any]:
    changed = parse_catalogue(
        document(born={"owner": "other|team", "rotation": {"type": "time-based", "ttl": "2h", "rotate_before": "1h"}}),
        "c",
    )
    fewer = changed.model_copy(update={"secrets": changed.secrets[1:]})
    before, after = list(catalogue_claims("dev", CATALOGUE)), list(catalogue_claims("dev", fewer))
    secret = KubernetesSecret("dev", "shop", "internal")
    extra = Claim(Claimant(System.GIT, "file a"), secret, Keys.of("b", "a"))
    cases = {
        "gone": (before, after),
        "new": (after, before),
        "contested": (before, [*before, extra]),
        "moves": (before, [*(claim for claim in before if claim.location != secret), extra]),
        "keys": ([extra], [replace(extra, keys=Keys.of("c"))]),
        "more keys": ([extra, replace(extra, keys=Keys.of("z"))], [replace(extra, keys=Keys.all())]),
        "writer": ([extra], [replace(extra, claimant=Claimant(System.GIT, "file b"))]),
        "clusters": ([extra], [*catalogue_claims("prod", CATALOGUE)]),
    }
    entries = [
        *ledger_diff([], [], {"dev": CATALOGUE}, {"dev": changed}),
        *ledger_diff([], [], {"dev": CATALOGUE, "x": CATALOGUE}, {"dev": changed, "x": CATALOGUE}),
    ]
    found = {name: [change.as_dict() for change in ledger_diff(*case)] for name, case in cases.items()}
    moved = [Change(Kind.MOVES, "a|b", "<x>", "c\nd"), Change(Kind.NEW, "e", "", "f")]
    several = parse_catalogue(document(external={"owner": "next"}), "c")
    longer = several.model_copy(update={"secrets": several.secrets})
    shorter = CATALOGUE.model_copy(update={"secrets": CATALOGUE.secrets[1:]})
    entries += ledger_diff([], [], {"dev": shorter}, {"dev": longer})
    both = [replace(extra, secret="one"), replace(extra, secret="two", claimant=Claimant(System.HELM, "chart"))]
    writers = [replace(extra, claimant=Claimant(System.GIT, f"file {name}")) for name in "cb"]
    found["two writers"] = [change.as_dict() for change in ledger_diff([extra], writers)]
    rotated = parse_catalogue(
        document(
            config={"class": "external", "vault": {"datasource": "c", "consumer": "a"}, "rotation": {"type": "static"}}
        ),
        "c",
    )
    found["class"] = [change.as_dict() for change in ledger_diff([], [], {"dev": CATALOGUE}, {"dev": rotated})]
    found["two names"] = [change.as_dict() for change in ledger_diff([], both)]
    return found | {
        "entries": [change.as_dict() for change in entries],
        "markdown": [
            as_markdown(moved).splitlines(),
            as_markdown(moved[1:]).splitlines(),
            as_markdown([]).splitlines(),
        ],
    }


def _phases() -> dict[str, Any]:
    def refusal(act: Any) -> Any:
        try:
            return [phase.value for phase in act()]
        except PhaseRefusedError as error:
            return str(error)

    return {
        "names": [[phase.value, phase.title, phase.authority] for phase in Phase],
        "moves": [refusal(lambda a=a, b=b: check_transition(a, b)) for a, b in product((None, *Phase), Phase)],
        "parsed": [refusal(lambda v=v: [parse_phase(v)]) for v in (0, "4", 5, -1, True, None, "x", "1.5")],
    }


def _evidence() -> dict[str, Any]:
    findings = tuple(EvidenceResult(f"s-{outcome.name}", outcome, "file") for outcome in Outcome)
    evidence = Evidence(Phase.BOOTSTRAP, "main@sha1:1", EARLY, findings)
    return {
        "lines": [str(finding) for finding in findings],
        "failed": [finding.secret for finding in evidence.failed],
        "lacking": evidence.lacking(["s-MATCHES", "never"]),
        "json": evidence.to_json(),
        "holds": [evidence.holds, replace(evidence, findings=findings[:2]).holds],
        "again": Evidence.from_json(evidence.to_json()) == evidence,
    }


def words() -> dict[str, Any]:
    """Everything, as JSON has it."""
    assert {secret.secret_class for secret in CATALOGUE} == set(SecretClass)
    unique = list(dict.fromkeys(json.dumps(item, sort_keys=True) for item in _ledger()))
    found = {
        "enumerations": _enumerations(),
        "claims": _claims(),
        "ledger": [json.loads(item) for item in unique],
        "trail": _trail(),
        "contradictions": list(_contradictions()),
        "diff": _diff(),
        "phases": _phases(),
        "evidence": _evidence(),
    }
    again: dict[str, Any] = json.loads(json.dumps(found))
    return again


if __name__ == "__main__":
    RECORD.write_text(json.dumps(words(), indent=1, sort_keys=True, ensure_ascii=False) + "\n")
