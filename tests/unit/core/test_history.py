"""The history of authority over all phases, and its agreement with the ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.history import history
from secret_authority.core.ledger.ledger import Facts, GitFact, ledger, vault_records
from secret_authority.core.phases import Phase
from tests.support.documents import BORN_IN_GIT, CATALOGUE, NAMES

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "orders-db"
FILE = f"{SECRET}.yaml"


def day(number: int) -> datetime:
    return BEGIN + timedelta(days=number)


def to_vault(secret: str, at: datetime) -> Event:
    origin = "git" if secret in BORN_IN_GIT else "none"
    change = f"authority {origin} -> vault"
    return Event(at.isoformat(timespec="milliseconds"), secret, change, "w", "run-1", "done", "ho-1", "p", "d")


def changes(facts: Facts, *events: Event) -> list[tuple[str, str]]:
    """Day and change of one secret, in order."""
    told = [event for event in history(CATALOGUE, facts, events) if event.secret == SECRET]
    return [(event.at[:10], event.change.removeprefix("authority ")) for event in told]


def test_a_secret_of_the_first_hour_goes_through_every_phase() -> None:
    facts = Facts(Phase.CONSUMPTION, {Phase(n): day(n) for n in range(1, 5)}, {SECRET: GitFact(FILE, BEGIN)}, {})
    assert changes(facts, to_vault(SECRET, day(3))) == [
        ("2026-01-01", "none -> offline-root"),
        ("2026-01-02", "offline-root -> git"),
        ("2026-01-04", "git -> vault"),
    ]


def test_a_file_that_comes_later_belongs_to_git_at_once() -> None:
    facts = Facts(Phase.BOOTSTRAP, {Phase.GITOPS: day(1), Phase.BOOTSTRAP: day(2)}, {SECRET: GitFact(FILE, day(5))})
    assert changes(facts) == [("2026-01-06", "none -> git")]


def test_before_the_control_plane_the_offline_root_has_it() -> None:
    assert changes(Facts(Phase.ROOT_OF_TRUST, {}, {SECRET: GitFact(FILE, BEGIN)})) == [
        ("2026-01-01", "none -> offline-root")
    ]


def test_a_file_that_is_not_committed_has_no_time() -> None:
    assert changes(Facts(Phase.ROOT_OF_TRUST, {}, {SECRET: GitFact(FILE)})) == []
    assert changes(Facts(Phase.GITOPS, {Phase.GITOPS: day(1)}, {SECRET: GitFact(FILE)})) == [
        ("2026-01-02", "offline-root -> git")
    ]


def test_a_phase_record_of_a_rebuilt_cluster_does_not_come_after_vault() -> None:
    facts = Facts(Phase.CONSUMPTION, {Phase.GITOPS: day(9)}, {SECRET: GitFact(FILE, BEGIN)}, {})
    assert changes(facts, to_vault(SECRET, day(3))) == [
        ("2026-01-01", "none -> offline-root"),
        ("2026-01-04", "git -> vault"),
    ]


def test_a_line_says_why_and_where() -> None:
    facts = Facts(Phase.GITOPS, {Phase.GITOPS: day(1)}, {SECRET: GitFact(FILE, BEGIN)})
    born, git = (event for event in history(CATALOGUE, facts, ()) if event.secret == SECRET)
    assert (born.why, git.why) == ("its encrypted file came to Git", "phase 1 (gitops) is reached")
    assert (git.at, git.run, git.result, git.place) == ("2026-01-02T00:00:00+00:00", "-", "done", FILE)
    assert Event.from_fields(git.fields()) == git


def test_times_of_any_zone_are_put_in_one_order() -> None:
    east = datetime.fromisoformat("2026-01-02T01:00:00+09:00")  # 2026-01-01 16:00 UTC
    facts = Facts(Phase.GITOPS, {Phase.GITOPS: BEGIN + timedelta(hours=17)}, {SECRET: GitFact(FILE, east)})
    assert [change for _, change in changes(facts)] == ["none -> offline-root", "offline-root -> git"]


def test_events_of_a_secret_that_left_the_catalogue_stay() -> None:
    gone = to_vault("gone", BEGIN)
    assert history(CATALOGUE, Facts(Phase.CONSUMPTION, {}, {}, {}), [gone]) == [gone]


@given(
    st.sampled_from(list(Phase)),
    st.dictionaries(st.sampled_from(BORN_IN_GIT), st.integers(0, 20)),
    st.sets(st.sampled_from(NAMES)),
)
def test_the_last_change_of_each_secret_is_what_the_ledger_says(
    reached: Phase, added: dict[str, int], in_vault: set[str]
) -> None:
    events = [to_vault(name, day(30)) for name in sorted(in_vault)] if reached >= Phase.RUNTIME_AUTHORITY else []
    since = {phase: day(2 * phase) for phase in Phase if Phase.ROOT_OF_TRUST < phase <= reached}
    git = {name: GitFact(f"{name}.yaml", day(number)) for name, number in added.items()}
    facts = Facts(reached, since, git, vault_records(events))
    last = {event.secret: event for event in history(CATALOGUE, facts, events)}
    for entry in ledger(CATALOGUE, facts):
        change = last.get(entry.secret)
        if change is None:
            assert entry.authority is None or entry.secret not in git
            continue
        assert change.change.endswith(f"-> {entry.authority}")
        assert entry.since == datetime.fromisoformat(change.at)
