"""The format of snapshots: manifest, names, when one is due, which may be deleted."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secret_authority.core.snapshots import due, naming
from secret_authority.core.snapshots.manifest import (
    AuditDevice,
    Manifest,
    SavedSecret,
    SealFacts,
    differences,
    seal_digest,
    state_digest,
)
from secret_authority.core.snapshots.naming import PARTS, BundleName, complete_bundles
from secret_authority.core.snapshots.retention import Retention, not_needed

texts = st.text(max_size=20)
numbers = st.integers(min_value=0, max_value=2**62)
times = st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))
secrets = st.builds(SavedSecret, texts, numbers, texts, texts, texts, numbers)
manifests = st.builds(
    Manifest,
    cluster=texts,
    cluster_id=texts,
    taken_at=times,
    index=numbers,
    term=numbers,
    server_version=texts,
    node=texts,
    sha256=texts,
    size=numbers,
    seal=st.builds(SealFacts, numbers, numbers, texts),
    audit=st.lists(st.builds(AuditDevice, texts, texts), max_size=3).map(tuple),
    secrets=st.lists(secrets, max_size=5, unique_by=lambda secret: secret.location).map(tuple),
)
clusters = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)
names = st.builds(BundleName, clusters, times, st.integers(0, 10**19), st.from_regex(r"[0-9a-f]{8}", fullmatch=True))
START = datetime(2026, 11, 27, tzinfo=UTC)


@given(manifests)
def test_a_manifest_is_read_as_it_was_written(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest


@given(manifests, st.data())
def test_a_manifest_with_a_field_less_or_more_is_refused(manifest: Manifest, data: st.DataObject) -> None:
    whole = json.loads(manifest.to_json())
    missing = data.draw(st.sampled_from(sorted(whole)))
    for broken in ({key: value for key, value in whole.items() if key != missing}, {**whole, "more": 1}):
        with pytest.raises(ValueError, match="manifest"):
            Manifest.from_json(json.dumps(broken))


@pytest.mark.parametrize("text", ["", "[]", "null", "1", '"x"', "{}", "[" * 100_000, b"\xff\xfe"])
def test_what_is_no_manifest_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        Manifest.from_json(text)


@given(st.lists(secrets, max_size=5, unique_by=lambda secret: secret.location), st.randoms())
def test_the_state_does_not_depend_on_order(found: list[SavedSecret], random: st.randoms) -> None:
    other = list(found)
    random.shuffle(other)
    assert state_digest(found, "s") == state_digest(other, "s") != state_digest(found, "t")


@given(manifests.filter(lambda manifest: manifest.secrets), st.data())
def test_every_difference_of_one_secret_is_found(manifest: Manifest, data: st.DataObject) -> None:
    one = data.draw(st.sampled_from(manifest.secrets))
    rest = [secret for secret in manifest.secrets if secret != one]
    assert differences(manifest, manifest.secrets) == []
    assert len(differences(manifest, rest)) == 1
    changed = dataclasses.replace(one, metadata=f"{one.metadata}x")
    assert len(differences(manifest, [*rest, changed])) == 1
    assert state_digest([*rest, changed], "s") != state_digest(manifest.secrets, "s")


def test_the_digest_of_shares_tells_threshold_and_order() -> None:
    seen = {seal_digest(("a", "b"), 1), seal_digest(("a", "b"), 2), seal_digest(("b", "a"), 2), seal_digest(("ab",), 2)}
    assert len(seen) == 4 and seal_digest(("a\n", "b"), 2) in seen


@given(names)
def test_a_name_is_read_as_it_was_written(name: BundleName) -> None:
    assert BundleName.parse(name.folder) == name
    assert complete_bundles(name.cluster, [name.part(part) for part in PARTS]) == [name]
    assert complete_bundles(name.cluster, [name.part(part) for part in PARTS[:-1]]) == []


@given(st.lists(names.map(lambda name: dataclasses.replace(name, cluster="dev")), max_size=8, unique=True))
def test_bundles_are_listed_in_order_of_time(found: list[BundleName]) -> None:
    listed = complete_bundles("dev", [name.part(naming.COMPLETE) for name in found])
    assert [name.taken_at for name in listed] == sorted(name.taken_at for name in found)
    assert complete_bundles("dev2", [name.part(naming.COMPLETE) for name in found]) == []


@pytest.mark.parametrize(
    "folder",
    [
        "",
        "dev/2026/11/20261127T190000Z-1-0000000",
        "dev/2026/12/20261127T190000Z-1-00000000",
        "dev/2026/11/20261327T190000Z-1-00000000",
        "dev/2026/11/20261127T190000Z-01-00000000",
        "../2026/11/20261127T190000Z-1-00000000",
        "dev/2026/11/20261127T190000Z-1-00000000/x",
        "dev/2026/11/20261127T190000Z-1-0000000G",
        "dev/2026/11/20261127T190000Z-1-00000000\n",
    ],
)
def test_what_is_no_name_is_refused(folder: str) -> None:
    with pytest.raises(ValueError):
        BundleName.parse(folder)


@pytest.mark.parametrize("cluster", ["", "..", "a/b", "Dev", "-a", "a-", "a" * 64])
def test_what_is_no_cluster_is_refused(cluster: str) -> None:
    with pytest.raises(ValueError):
        BundleName(cluster, START, 1, "00000000")
    with pytest.raises(ValueError):
        naming.prefix(cluster)


@given(st.lists(st.tuples(st.integers(1, 400), st.sampled_from("abc")), min_size=1, max_size=30), st.integers(0, 2000))
def test_no_change_waits_longer_than_promised(steps: list[tuple[int, str]], saved_ago: int) -> None:
    """Whatever changes when: a snapshot is due at most four minutes after the first change that was seen."""
    saved = due.Saved("a", START - timedelta(seconds=saved_ago))
    unsaved, now = None, START
    for seconds, state in steps:
        now += timedelta(seconds=seconds)
        unsaved = due.observe(unsaved, saved, state, now)
        assert (unsaved is None) == (state == "a")
        at = due.due_at(saved, unsaved, now)
        assert at <= saved.at + due.AT_LEAST_EVERY
        if unsaved is not None:
            assert at <= unsaved.first + due.LONGEST_DELAY < unsaved.first + due.UNSAVED_AT_MOST
            assert at <= unsaved.last + due.DEBOUNCE
            assert unsaved.state == state and unsaved.first <= unsaved.last <= now


def test_a_burst_is_one_snapshot_and_a_stream_does_not_put_it_off() -> None:
    saved, unsaved = due.Saved("0", START), None
    for second in range(0, 600, 10):
        now = START + timedelta(seconds=second)
        unsaved = due.observe(unsaved, saved, str(second + 1), now)
        if due.due_at(saved, unsaved, now) <= now:
            break
    assert now - START == due.LONGEST_DELAY
    quiet = due.observe(None, saved, "new", START)
    assert due.due_at(saved, quiet, START) == START + due.DEBOUNCE


def test_without_a_snapshot_or_with_one_of_the_future_it_is_due_now() -> None:
    later = due.Saved("a", START + timedelta(hours=1))
    assert due.due_at(None, None, START) == due.due_at(later, None, START) == START
    assert due.Unsaved("a", START, START).age(START - timedelta(hours=1)) == timedelta()


bundles = st.lists(
    st.integers(0, 3 * 365 * 24 * 4).map(
        lambda quarter: BundleName("dev", START + timedelta(minutes=15 * quarter), quarter, "00000000")
    ),
    max_size=60,
    unique=True,
)


@given(bundles, st.data())
def test_what_may_be_deleted_is_older_than_a_verified_one_that_stays(
    there: list[BundleName], data: st.DataObject
) -> None:
    verified = data.draw(st.lists(st.sampled_from(there), unique=True)) if there else []
    gone = not_needed(there, verified)
    stay = set(there) - set(gone)
    assert gone == sorted(gone) and set(gone) <= set(there)
    if not verified:
        assert gone == []
        return
    assert max(verified) in stay and all(bundle < max(verified) for bundle in gone)
    assert {bundle for bundle in there if bundle > max(verified)} <= stay
    # Deleting and asking again deletes nothing more.
    assert not_needed(stay, set(verified) & stay) == []


def test_a_year_of_hourly_bundles_becomes_what_the_rules_say() -> None:
    there = [BundleName("dev", START + timedelta(hours=hour), hour, "00000000") for hour in range(366 * 24)]
    stay = set(there) - set(not_needed(there, there))
    assert len(stay) <= 24 + 14 + 8 + 12
    assert set(there[-24:]) <= stay and len({bundle.taken_at.date() for bundle in stay}) >= 14
    assert len({(bundle.taken_at.year, bundle.taken_at.month) for bundle in stay}) == 12


def test_within_an_hour_a_verified_bundle_stays_before_a_newer_one_that_is_not() -> None:
    first, second, last = (
        BundleName("dev", START + timedelta(minutes=minutes), minutes, "00000000") for minutes in (1, 2, 3000)
    )
    assert not_needed([first, second, last], [first, last], Retention(2, 1, 1, 1)) == [second]
    assert not_needed([first, second, last], [last], Retention(2, 1, 1, 1)) == [first]


def test_verified_elsewhere_counts_for_nothing_and_clusters_are_not_mixed() -> None:
    one, other = BundleName("dev", START, 1, "00000000"), BundleName("prod", START, 1, "00000000")
    assert not_needed([one], [other]) == []
    with pytest.raises(ValueError, match="several clusters"):
        not_needed([one, other], [])
