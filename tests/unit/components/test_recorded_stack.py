"""A stack at phase 4 that an earlier release has built: what a preview of today's program shows on it.

The record is of commit d645c6e (tests/support/recorded_inputs.py writes one). Whoever changes what the program
registers names the change here, with its reason.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from tests.support.recorded_inputs import HOME, RECORD, Record, fields, run, short

# Resources that an existing stack gets, and why.
ADDED: dict[str, str] = {}
# Resources whose inputs change, with the fields. Beside these only the engine's image changes, which is a setting.
CHANGED: dict[str, set[str]] = {
    # The engine acts only on entries of the catalogue that the program has checked, and gets their digests.
    "secret-authority:vault:Engine$kubernetes:core/v1:ConfigMap::runtime-authority-engine-settings": {
        "data.settings.json"
    },
}
GUARD = "secret-authority:bootstrap:Guard", "secret-authority:layer:BootstrapGuard"


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return run(HOME, tmp_path_factory.mktemp("recorded"))


@pytest.fixture(scope="module")
def recorded() -> Record:
    return json.loads(RECORD.read_text())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def pairs(today: dict[str, dict[str, Any]], recorded: Record) -> dict[str, str]:
    """Today's name of each recorded resource that Pulumi takes for the same one: by its URN or an alias."""
    older = {short(alias): name for name, entry in today.items() for alias in entry["aliases"]}
    # A child's URN starts with its parent's type, so the alias of a parent is one of the child, too.
    older |= {name.replace(*GUARD, 1): name for name in today if name.startswith(f"{GUARD[0]}$")}
    found = {**older, **{name: name for name in today}}
    return {name: found[name] for name in recorded if name in found}


def test_nothing_is_replaced_or_taken_away(pairs: dict[str, str], recorded: Record) -> None:
    assert sorted(set(recorded) - set(pairs)) == []


def test_what_is_new_is_named_here(today: dict[str, dict[str, Any]], pairs: dict[str, str]) -> None:
    assert sorted(set(today) - set(pairs.values())) == sorted(ADDED)


def test_what_changes_is_named_here(today: dict[str, dict[str, Any]], pairs: dict[str, str], recorded: Record) -> None:
    changed: dict[str, set[str]] = {}
    for before, after in pairs.items():
        old, new = recorded[before], fields(today[after])
        names = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
        if names:
            changed[before] = names
    assert changed == CHANGED


def test_a_changed_input_is_noticed(today: dict[str, dict[str, Any]], recorded: Record) -> None:
    (source,) = [name for name in today if "GitRepository" in name]
    changed = copy.deepcopy(today[source])
    changed["inputs"]["spec"]["ref"] = {"branch": "next"}
    after = fields(changed)
    assert {name for name, value in recorded[source].items() if after[name] != value} == {"spec.ref"}
