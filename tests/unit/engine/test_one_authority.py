"""One secret, one authority: what an attacker, a mistake in Git or an engine that wakes up late would need to break it.

The engine's own code over KV v2 and an API server in memory.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from secret_authority.clients.kubernetes import ApiRefusedError, Object
from secret_authority.clients.vault_trail import read_trail
from secret_authority.contract.names import AUTHORITY_MOUNT, STATE_LABEL
from secret_authority.core.catalogue.admission import admitted_entries
from secret_authority.core.catalogue.schema import Catalogue, SecretClass
from secret_authority.core.errors import InvalidInputError, LostRace
from secret_authority.core.handover.runner import Result
from secret_authority.core.handover.state_machine import Blocked, Done, InGit, Reason, Step
from secret_authority.engine.common.audit_events import RunInfo
from secret_authority.engine.common.backoff import Backoff
from secret_authority.engine.common.loop import LeasedLoop
from secret_authority.engine.handover.cluster_adapter import ClusterAdapter, plan_for
from secret_authority.engine.handover.controller import Handover, lines
from secret_authority.engine.handover.git_state import GitState
from secret_authority.engine.runtime_authority.controller import HANDED_OVER
from tests.fakes.handover import MemoryApi, catalogue, entry, secret, secret_path
from tests.support.controllers import TrailSite
from tests.support.handover_in_memory import KEY, ORDERS, VALUE, Site, in_git


def reason(result: Result) -> Reason:
    assert isinstance(result.end, Blocked), result.end
    assert result.steps == () and result.end.reason.fix in str(result.end)
    return result.end.reason


@pytest.mark.parametrize(
    ("value", "says"),
    [(b"x" * 1_045_000, "bytes as JSON in Vault"), (b"<" * 200_000, "bytes as JSON"), (b"\xff", "is not UTF-8 text")],
)
def test_a_value_that_vault_can_never_take_is_one_condition_and_not_tried(value: bytes, says: str) -> None:
    given = catalogue(ORDERS)
    site = Site(given, {"password": value})
    engine = Handover("dev", site.api, site.vault, "run-1", admitted_entries(given), 1)
    summary = engine.run(in_git(given, {"orders-db": {"password": value}}), KEY)
    (line,) = lines(summary.results)
    assert line["state"] == "conflict" and says in str(line["message"]) and value.decode("latin-1") not in str(line)
    assert summary.settled and not site.vault.data and site.data()


def test_what_is_named_binary_is_in_base64_in_vault_whatever_it_is() -> None:
    given = catalogue({**ORDERS, "binary": ["password"]})
    for value in (b"plain text", b"\xff\x00"):
        site = Site(given, {"password": value})
        (result,) = site.run(in_git(given, {"orders-db": {"password": value}}))
        assert isinstance(result.end, Done), result
        (versions,) = [found for (mount, _), found in site.vault.data.items() if mount == "platform-data"]
        assert base64.b64decode(versions[-1]["password"]) == value
        notes = {
            found.get("base64_keys") for (mount, _), found in site.vault.metadata.items() if mount != AUTHORITY_MOUNT
        }
        assert notes == {"password"}


def test_without_a_file_in_git_nothing_moves() -> None:
    """The value in the Secret may be anybody's."""
    given = catalogue(ORDERS)
    site = Site(given, {"password": b"chosen by whoever may write this Secret"})
    (result,) = site.run(in_git(given, {}))
    assert reason(result) is Reason.NOT_IN_GIT and "main@sha1:1" in str(result.end)
    assert site.vault.data == {} and site.vault.metadata == {} and site.data()


def test_another_value_than_gits_does_not_move() -> None:
    given = catalogue(ORDERS)
    site = Site(given, {"password": b"x"})
    (result,) = site.run(in_git(given, {"orders-db": VALUE}))
    assert reason(result) is Reason.NOT_FROM_GIT
    assert site.vault.data == {}


@pytest.mark.parametrize("unknown", [Reason.UNREADABLE, Reason.KEYS_NOT_IN_GIT, Reason.GIT_AWAY])
def test_a_value_of_git_that_is_not_known_moves_nothing(unknown: Reason) -> None:
    given = catalogue(ORDERS)
    site = Site(given, VALUE)
    digest = in_git(given, {"orders-db": VALUE}).values["orders-db"].digest
    git = GitState("main@sha1:1", given, {"orders-db": InGit(digest, unknown, "detail")})
    (result,) = site.run(git)
    assert reason(result) is unknown and site.vault.data == {}


def test_the_last_revision_that_could_be_read_is_not_the_present_one() -> None:
    given = catalogue(ORDERS)
    site = Site(given, VALUE)
    git = in_git(given, {"orders-db": VALUE})
    (result,) = site.run(GitState(git.revision, given, git.values, away="the source does not answer"))
    assert reason(result) is Reason.GIT_AWAY and "the source does not answer" in str(result.end)
    assert isinstance(result.end, Blocked) and result.end.passing
    (result,) = site.run(git)
    assert isinstance(result.end, Done)


def test_two_entries_over_one_bootstrap_secret_are_refused() -> None:
    """The first handover would empty the Secret, and with it the other's value."""
    with pytest.raises(InvalidInputError) as refused:
        catalogue(entry("db-user", "orders-db", ["username"]), entry("db-pass", "orders-db", ["password"]))
    assert str(refused.value).startswith(
        "catalogue.yaml: secrets[db-pass].bootstrap.secret: bs/orders-db is the bootstrap Secret of db-user already."
    )


def test_keys_that_no_entry_names_are_never_destroyed() -> None:
    given = catalogue(ORDERS)
    site = Site(given, {**VALUE, "username": b"somebody's"})
    (result,) = site.run(in_git(given, {"orders-db": VALUE}))
    assert reason(result) is Reason.MORE_KEYS and "username" in str(result.end)
    assert site.vault.data == {} and set(site.data()) == {"password", "username"}
    site.flux(VALUE)
    assert isinstance(site.run(in_git(given, {"orders-db": VALUE}))[0].end, Done)
    site.flux({**VALUE, "username": b"somebody's"})
    (result,) = site.run(in_git(given, {"orders-db": VALUE}))
    assert reason(result) is Reason.MORE_KEYS and set(site.data()) == {"password", "username"}


def test_a_secret_is_handed_over_once_whatever_git_says_later() -> None:
    """Git alone: another Vault path, the file gone and back with another value."""
    first, second = catalogue(ORDERS), catalogue(entry("orders-db", "orders-db", ["password"], "orders-v2"))
    site = Site(first, VALUE)
    assert isinstance(site.run(in_git(first, {"orders-db": VALUE}))[0].end, Done)
    site.flux({"password": b"chosen in Git"})
    git = in_git(second, {"orders-db": {"password": b"chosen in Git"}}, "main@sha1:2")
    (result,) = site.run(git, "run-2")
    assert reason(result) is Reason.NOT_ADMITTED
    site.admitted = second  # and a `pulumi up` does not change it
    (result,) = site.run(git, "run-3")
    assert reason(result) is Reason.HANDED_OVER_BEFORE and "platform-data/d/orders-db" in str(result.end)
    assert site.vault.values() == {"d/orders-db": {"password": "v1"}}
    assert [(event.secret, event.place) for event in read_trail(site.vault).events] == [
        ("orders-db", "platform-data/d/orders-db")
    ]


@pytest.mark.parametrize("change", ["handover of an older release", "first value in the cluster"])
def test_an_event_of_another_transfer_blocks_without_a_note(change: str) -> None:
    first, second = catalogue(ORDERS), catalogue(entry("orders-db", "orders-db", ["password"], "orders-v2"))
    site = Site(first, VALUE)
    site.run(in_git(first, {"orders-db": VALUE}))
    del site.vault.data[AUTHORITY_MOUNT, "handovers/orders-db"]
    if change.startswith("first"):
        ((_, path), (event,)) = next((at, held) for at, held in site.vault.data.items() if "events/" in at[1])
        site.vault.data[AUTHORITY_MOUNT, path] = [{**event, "id": "fw-1", "change": "authority none -> vault"}]
    site.flux({"password": b"v2"})
    site.admitted = second
    (result,) = site.run(in_git(second, {"orders-db": {"password": b"v2"}}))
    assert reason(result) is Reason.HANDED_OVER_BEFORE


def test_an_entry_that_the_program_has_not_checked_waits_and_the_others_continue() -> None:
    """Merged in Git before anybody ran `pulumi up`: the engine has no right to its Secret, and asks for none."""

    class Narrow(MemoryApi):
        def get(self, path: str) -> Object | None:
            if path.endswith("/new"):
                raise ApiRefusedError("GET", path, 403, "Forbidden")
            return super().get(path)

    given = catalogue(ORDERS, entry("new", "new", ["password"]))
    site = Site(catalogue(ORDERS), VALUE)
    api = Narrow()
    api.objects, site.api = site.api.objects, api
    engine = Handover("dev", site.api, site.vault, "run-1", admitted_entries(site.admitted), 1)
    summary = engine.run(in_git(given, {"orders-db": VALUE, "new": VALUE}), KEY)
    done, waits = summary.results
    assert isinstance(done.end, Done) and reason(waits) is Reason.NOT_ADMITTED
    assert summary.settled, "it is not tried again each second"


@pytest.mark.parametrize(
    ("change", "waits"),
    [
        ({"vault": {"datasource": "d", "consumer": "x"}}, True),
        ({"owner": "somebody"}, True),
        ({"rotation": {"type": "time-based", "ttl": "720h"}}, True),
        ({"bootstrap": {"namespace": "bs", "secret": "orders-db", "keys": ["password", "user"]}}, True),
        ({"consumers": [{"namespace": "shop", "secret": "db", "keys": {"P": "password"}}]}, False),
    ],
)
def test_what_decides_a_handover_is_checked_first(change: dict[str, Any], waits: bool) -> None:
    site = Site(catalogue(ORDERS), VALUE)
    given = catalogue({**ORDERS, **change})
    (result,) = site.run(in_git(given, {"orders-db": VALUE}))
    if waits:
        assert reason(result) is Reason.NOT_ADMITTED and site.vault.data == {}
    else:
        assert isinstance(result.end, Done)


def late_engine(site: Site, given: Catalogue) -> tuple[ClusterAdapter, Any, str]:
    """An engine that has written and read back, and sleeps before it records."""
    (found,) = given.of_class(SecretClass.BOOTSTRAP)
    plan = plan_for("dev", found)
    git = in_git(given, {"orders-db": VALUE}).value_of("orders-db")
    late = ClusterAdapter(found, site.api, site.vault, KEY, RunInfo("run-late"), git)
    late.observe_bootstrap(plan)
    late.begin(plan)
    late.write(plan)
    digest = late.observe_vault(plan).digest
    assert digest is not None
    return late, plan, digest.current


def test_an_engine_that_wakes_up_late_changes_nothing() -> None:
    given = catalogue(ORDERS)
    site = Site(given, VALUE)
    late, plan, digest = late_engine(site, given)
    git = in_git(given, {"orders-db": VALUE})
    assert isinstance(site.run(git, "run-new")[0].end, Done)
    place = ("platform-data", "d/orders-db")
    site.vault.metadata[place] |= {"owner": "new-owner", "rotation_type": "time-based"}
    before = dict(site.vault.metadata[place])
    with pytest.raises(LostRace):
        late.record(plan, digest)
    assert site.vault.metadata[place] == before
    (event,) = read_trail(site.vault).events
    assert (event.run, event.at) == (before["handover_run"], before["handover_at"])
    (result,) = site.run(git, "run-3")
    assert result.steps == () and isinstance(result.end, Done) and result.notices == ()


def test_what_a_person_has_set_before_the_record_stays() -> None:
    given = catalogue(ORDERS)
    site = Site(given, VALUE)
    late, plan, digest = late_engine(site, given)
    site.vault.metadata["platform-data", "d/orders-db"] = {"owner": "new-owner", "mine": "1"}
    late.record(plan, digest)
    assert {"owner": "new-owner", "mine": "1", "rotation_type": "static"}.items() <= site.vault.metadata[
        "platform-data", "d/orders-db"
    ].items()


def test_a_record_that_differs_from_its_event_is_reported() -> None:
    given = catalogue(ORDERS)
    site = Site(given, VALUE)
    git = in_git(given, {"orders-db": VALUE})
    site.run(git)
    site.vault.metadata["platform-data", "d/orders-db"]["handover_run"] = "somebody"
    (result,) = site.run(git)
    assert [str(notice) for notice in result.notices] == [
        "the record in Vault's metadata and its event in the audit trail differ"
    ]


def test_a_record_that_is_gone_while_its_event_is_there_is_not_made_again() -> None:
    """Somebody replaced the metadata, and Flux has created the Secret again."""
    given = catalogue(ORDERS)
    site = Site(given, VALUE)
    git = in_git(given, {"orders-db": VALUE})
    site.run(git)
    del site.vault.metadata["platform-data", "d/orders-db"]
    site.flux(VALUE)
    (result,) = site.run(git, "run-2")
    assert reason(result) is Reason.RECORD_LOST and site.vault.metadata == {}


def test_a_label_in_gits_manifest_is_no_handover() -> None:
    given = catalogue(ORDERS)
    labels = {"metadata": {"name": "orders-db", "labels": {STATE_LABEL: "consumed"}}}
    site = Site(given, VALUE, **labels)
    git = in_git(given, {"orders-db": VALUE})
    assert reason(site.run(git)[0]) is Reason.CONSUMED_WITHOUT_RECORD
    site.flux(VALUE)
    assert isinstance(site.run(git)[0].end, Done)
    site.flux(VALUE, **labels)
    (result,) = site.run(git)
    assert result.steps == (Step.CONSUME,) and isinstance(result.end, Done) and not site.data()


def test_equal_values_do_not_show_equal_digests() -> None:
    given = catalogue(entry("a", "a", ["password"]), entry("b", "b", ["password"]))
    site = Site(given, VALUE, "a")
    site.api.put(secret_path("b"), secret("b", VALUE))
    results = site.run(in_git(given, {"a": VALUE, "b": VALUE}))
    assert all(isinstance(result.end, Done) for result in results)
    digests = {metadata["handover_digest"] for metadata in site.vault.metadata.values()}
    assert len(digests) == 2 and all(digest.startswith("hmac-sha256-v2:") for digest in digests)


def test_secrets_that_wait_do_not_fill_the_audit_log_of_vault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vault writes each request to a log that holds about 65,000 of them."""
    given = catalogue(*(entry(f"s-{number}", f"s-{number}", ["password"]) for number in range(50)))
    site = Site(given, VALUE, "s-0")
    for number in range(1, 50):
        site.api.put(secret_path(f"s-{number}"), secret(f"s-{number}", {"password": b"older"}))
    git = in_git(given, {found.name: VALUE for found in given})
    engine = TrailSite(monkeypatch).engine
    monkeypatch.setattr(LeasedLoop, "held", lambda _: True)
    now = 0.0
    engine.pace = Backoff(lambda: now)
    handover = Handover("dev", site.api, site.vault, "run-1", admitted_entries(given), 1)
    monkeypatch.setattr(handover, "key", lambda: KEY)
    monkeypatch.setattr(engine, "handover", handover)
    monkeypatch.setattr(engine, "git_state", SimpleNamespace(read=lambda _key: git))
    per_minute: list[int] = []
    for _ in range(20):
        before = len(site.vault.requests)
        for _ in range(60):
            engine.hand_over()
            now += 1.0
        per_minute.append(len(site.vault.requests) - before)
    assert engine.status.as_dict()[HANDED_OVER]["status"] is False
    # The first minute, and then a full look every 100 seconds: at this rate the log lasts for hours.
    assert per_minute[0] < 2000 and max(per_minute[3:]) <= 300 and sum(per_minute) < 4000, per_minute
    # What a person mends is seen within the pause; another revision is looked at right away.
    site.api.put(secret_path("s-1"), secret("s-1", VALUE))
    git = replace(git, revision="main@sha1:2")
    engine.hand_over()
    assert "2 of 50" in str(engine.status.as_dict()[HANDED_OVER]["message"])


def test_what_another_engine_hands_over_between_two_reads_is_seen_whole() -> None:
    """Where there was no value at first, two requests read value and record: never a record without its value."""
    given = catalogue(ORDERS)
    site = Site(given, VALUE)
    (one,) = given
    place = f"{one.vault.mount}/data/{one.vault.path}"
    before, reads = site.vault.read, list[str]()

    def read(path: str) -> dict[str, Any] | None:
        found = before(path)
        if path == place and not reads:
            reads.append(path)
            (result,) = site.run(in_git(given, {"orders-db": VALUE}), "run-2")
            assert isinstance(result.end, Done)
        return found

    site.vault.read = read  # type: ignore[method-assign]
    adapter = ClusterAdapter(one, site.api, site.vault, KEY, RunInfo("run-1"), InGit(unknown=Reason.GIT_AWAY))
    seen = adapter.observe_vault(plan_for("dev", one))
    assert reads and seen.record is not None and seen.digest is not None and seen.version == 1
