"""The end of a value that is issued elsewhere: when it is known, who hears of it, and how often."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.errors import LostRace
from secret_authority.engine.common.status import Status
from secret_authority.engine.rotation.expiry import CURRENT, MOST_NOTICE, ExpiryWatch, watched
from secret_authority.engine.rotation.store import VaultRotationStore

ENTERED = datetime(2026, 1, 1, tzinfo=UTC)


def entry(**rotation: str) -> CatalogueSecret:
    return CatalogueSecret.model_validate(
        {
            "name": "payment-api",
            "class": "external",
            "owner": "team",
            "vault": {"datasource": "payment", "consumer": "billing"},
            "consumers": [{"namespace": "shop", "secret": "payment-api", "keys": {"KEY": "key"}}],
            "rotation": {"type": "event-based", **rotation},
        }
    )


def metadata(version: int = 1, **custom: str) -> dict[str, Any]:
    at = ENTERED.isoformat().replace("+00:00", "Z")
    return {
        "current_version": version,
        "versions": {str(version): {"created_time": at}},
        "custom_metadata": {"rotation_type": "event-based", **custom},
    }


def test_without_a_word_of_its_end_nobody_is_alarmed() -> None:
    found = watched(entry(), metadata())
    assert (found.since, found.expires, found.renew_by, found.problem) == (ENTERED, None, None, "")
    assert watched(entry(), None).problem == "nobody has entered it yet"
    assert watched(entry(), {"current_version": 0}).version == 0


def test_a_ttl_counts_from_the_entry_and_vaults_policy_wins() -> None:
    assert watched(entry(ttl="2400h"), metadata()).expires is None, "Vault's policy has no ttl"
    found = watched(entry(), metadata(ttl="2400h", rotate_before="240h"))
    assert found.expires == ENTERED + timedelta(days=100) and found.renew_by == ENTERED + timedelta(days=90)


def test_a_person_hears_a_tenth_of_its_life_before_at_most_two_weeks() -> None:
    assert watched(entry(), metadata(ttl="1000h")).renew_by == ENTERED + timedelta(hours=900)
    found = watched(entry(), metadata(ttl="20000h"))
    assert found.expires is not None and found.renew_by == found.expires - MOST_NOTICE


def test_an_end_that_was_said_of_an_older_version_is_no_end() -> None:
    said = {"expires_at": "2026-06-01T00:00:00+00:00", "expires_version": "1"}
    assert watched(entry(), metadata(1, **said)).expires == datetime(2026, 6, 1, tzinfo=UTC)
    later = watched(entry(), metadata(2, **said))
    assert later.expires is None and later.problem == "expires_at was said of another version: say when version 2 ends"


class Kv:
    """Vault with the metadata of one secret, and events."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.found, self.events = found, dict[str, Any]()

    def read(self, path: str) -> dict[str, Any] | None:
        if path == "platform-data/metadata/payment/billing":
            return {"data": self.found}
        return {"data": {"data": self.events[path]}} if path in self.events else None

    def write(self, path: str, body: dict[str, Any]) -> None:
        if path in self.events:
            raise LostRace(path)
        self.events[path] = body["data"]


@pytest.fixture
def vault() -> Kv:
    return Kv(metadata(ttl="100h", rotate_before="10h"))


def watch(vault: Kv, status: Status) -> ExpiryWatch:
    store = VaultRotationStore(vault, entry(), b"")  # type: ignore[arg-type]
    return ExpiryWatch(vault, {"payment-api": store}, status, "run-1")  # type: ignore[arg-type]


def test_it_is_told_once_that_it_ends_and_once_that_it_has_ended(vault: Kv) -> None:
    status = Status()
    one = watch(vault, status)
    one.look()
    one.tell(ENTERED + timedelta(hours=89))
    assert status.holds(CURRENT) and vault.events == {}
    for hours, result, words in ((91, "expires soon", "ends at"), (101, "expired", "has ended at")):
        for _ in range(3):
            one.tell(ENTERED + timedelta(hours=hours))
        assert not status.holds(CURRENT) and words in str(status.as_dict())
        assert [event["result"] for event in vault.events.values()][-1] == result
    assert len(vault.events) == 2
    # An engine that begins again writes nothing again.
    again = watch(vault, status)
    again.look()
    again.tell(ENTERED + timedelta(hours=101))
    assert len(vault.events) == 2
    # The next value ends both.
    vault.found = {**metadata(2, ttl="100h"), "versions": {"2": {"created_time": "2026-02-01T00:00:00Z"}}}
    one.look()
    one.tell(ENTERED + timedelta(hours=101))
    assert status.holds(CURRENT)
    assert f"{datetime(2026, 2, 5, 4, tzinfo=UTC).timestamp():.0f}" in status.metrics()


def test_the_metrics_go_when_nobody_knows_the_end_any_more(vault: Kv) -> None:
    status = Status()
    one = watch(vault, status)
    one.look()
    one.tell(ENTERED)
    assert "secret_expiry_timestamp_seconds" in status.metrics()
    vault.found = metadata(2)
    one.look()
    one.tell(ENTERED)
    assert "timestamp" not in status.metrics() and status.holds(CURRENT)


def test_metadata_that_cannot_be_read_concern_their_own_secret(vault: Kv) -> None:
    vault.found = metadata(ttl="for ever")
    one = watch(vault, Status())
    one.look()
    assert "its metadata cannot be read" in one.found["payment-api"].problem
