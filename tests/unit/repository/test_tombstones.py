"""Tombstones: a changed file of a secret that is handed over shows up in Git alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from secret_authority.core.errors import InvalidInputError
from secret_authority.repository.bootstrap.encrypted_secrets import ciphertext_digest
from secret_authority.repository.intent.intent import Intent
from secret_authority.repository.intent.tombstones import (
    Tombstone,
    changed_after_handover,
    read_tombstones,
    read_trail_key,
    tombstone_file,
    write_tombstones,
)
from tests.support.fleets import Fleet, new_fleet

FILE = "clusters/dev/bootstrap/orders-db.yaml"


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path)


def bury(intent: Intent) -> None:
    encrypted = intent.file_of("orders-db")
    digest = ciphertext_digest(intent.root, encrypted)
    stone = Tombstone("orders-db", FILE, "ho-1", "2026-01-01T00:00:00+00:00", digest)
    write_tombstones(intent, {"orders-db": stone}, None)


def test_without_a_file_there_are_none(fleet: Fleet) -> None:
    assert read_tombstones(fleet.read()) == {} and changed_after_handover(fleet.read()) == []


def test_what_is_written_is_read_again(fleet: Fleet) -> None:
    bury(fleet.read())
    (stone,) = read_tombstones(fleet.read()).values()
    assert (stone.secret, stone.file, stone.handover) == ("orders-db", FILE, "ho-1")
    assert changed_after_handover(fleet.read()) == []


def test_a_changed_value_is_found(fleet: Fleet) -> None:
    bury(fleet.read())

    def change(document: dict[str, dict[str, str]]) -> None:
        field = "data" if "data" in document else "stringData"
        key = next(iter(document[field]))
        document[field][key] = document[field][key].replace("data:", "data:AAAA", 1)

    fleet.edit(FILE, change)
    (problem,) = changed_after_handover(fleet.read())
    assert "orders-db was handed over" in str(problem) and "never applied" in str(problem)


def test_new_recipients_are_no_change_of_a_value(fleet: Fleet) -> None:
    bury(fleet.read())
    fleet.edit(FILE, lambda document: document["sops"].update(lastmodified="2030-01-01T00:00:00Z"))
    assert changed_after_handover(fleet.read()) == []


def test_a_file_that_is_no_list_is_refused(fleet: Fleet) -> None:
    tombstone_file(fleet.read()).write_text("tombstones: 3\n")
    with pytest.raises(InvalidInputError, match="is not a list of tombstones"):
        read_tombstones(fleet.read())


def test_the_key_of_the_trail_is_pinned(fleet: Fleet) -> None:
    assert read_trail_key(fleet.read()) is None
    bury(fleet.read())
    assert read_trail_key(fleet.read()) is None
    write_tombstones(fleet.read(), read_tombstones(fleet.read()), "ed25519:x")
    assert read_trail_key(fleet.read()) == "ed25519:x" and set(read_tombstones(fleet.read())) == {"orders-db"}
    tombstone_file(fleet.read()).write_text("trailKey: 3\ntombstones: []\n")
    with pytest.raises(InvalidInputError, match="trailKey: is not a text"):
        read_trail_key(fleet.read())
