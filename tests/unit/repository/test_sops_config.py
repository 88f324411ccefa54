""".sops.yaml is read as sops itself reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from secret_authority.clients.age import Identity
from secret_authority.core.errors import InvalidInputError
from tests.support.fleets import Fleet, new_fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path)


def said(fleet: Fleet, rules: list[Any] | None = None, **fields: Any) -> list[str]:
    """What the checks say of these rules, or of the fleet's one rule with other fields (None removes one)."""

    def change(document: Any) -> None:
        if rules is not None:
            document["creation_rules"] = rules
        changed = {**document["creation_rules"][0], **fields}
        document["creation_rules"][0] = {key: value for key, value in changed.items() if value is not None}

    fleet.edit(".sops.yaml", change)
    try:
        fleet.read()
    except InvalidInputError as error:
        return [str(problem) for problem in error.problems]
    return []


def recipients(fleet: Fleet) -> list[str]:
    trust = fleet.read().trust
    return sorted(trust.wanted("dev"))


def rule(fleet: Fleet, **fields: Any) -> dict[str, Any]:
    return {"encrypted_regex": "^(data|stringData)$", "age": ",".join(recipients(fleet)), **fields}


STRANGER = Identity.generate().recipient


def test_key_groups_count_and_age_beside_them_does_not(fleet: Fleet) -> None:
    mine = recipients(fleet)
    assert said(fleet, [rule(fleet, key_groups=[{"age": mine}], age=None)]) == []
    assert said(fleet, [rule(fleet, key_groups=[{"age": mine}], age=STRANGER)]) == []
    (problem,) = said(fleet, [rule(fleet, key_groups=[{"age": [STRANGER]}])])
    assert "creation_rules[0].key_groups: does not name the recipients" in problem and "does not read `age`" in problem


def test_groups_of_which_several_are_needed_are_refused(fleet: Fleet) -> None:
    one, two = recipients(fleet)
    (problem,) = said(fleet, [rule(fleet, key_groups=[{"age": [one]}, {"age": [two]}], age=None)])
    assert "creation_rules[0]: makes files like" in problem and "without key groups" in problem


@pytest.mark.parametrize("age", [list, ",".join, ", ".join])
def test_age_as_a_list_and_as_a_text(fleet: Fleet, age: Any) -> None:
    assert said(fleet, [rule(fleet, age=age(recipients(fleet)))]) == []


def test_the_first_rule_that_matches_counts(fleet: Fleet) -> None:
    right = rule(fleet, path_regex="^clusters/dev/")
    wrong = rule(fleet, path_regex=r"orders-db\.yaml$", age=STRANGER)
    assert said(fleet, [right, wrong]) == []
    (problem,) = said(fleet, [wrong, right])
    assert "creation_rules[0].age: does not name the recipients" in problem and "orders-db.yaml" in problem


@pytest.mark.parametrize(
    "expression", [r"clusters/dev/bootstrap/.*\z", "^clusters/[[:alpha:]]+/", r"\pL+/dev", "(?s:.)"]
)
def test_expressions_of_go_are_read_as_sops_reads_them(fleet: Fleet, expression: str) -> None:
    assert said(fleet, [rule(fleet, path_regex=expression)]) == []
    (problem,) = said(fleet, [rule(fleet, path_regex=expression, age=STRANGER)])
    assert "does not name the recipients" in problem


@pytest.mark.parametrize("expression", ["(?<=clusters/)dev", "(", "(?=x)"])
def test_an_expression_that_sops_does_not_take(fleet: Fleet, expression: str) -> None:
    (problem,) = said(fleet, [rule(fleet, path_regex=expression)])
    assert ".sops.yaml: creation_rules" in problem


def test_no_rule_for_a_file(fleet: Fleet) -> None:
    (problem,) = said(fleet, [rule(fleet, path_regex="^elsewhere/")])
    assert "creation_rules: has no rule for clusters/dev/bootstrap/" in problem


@pytest.mark.parametrize(
    "fields",
    [
        {"encrypted_regex": None},
        {"encrypted_regex": "^data$"},
        {"encrypted_regex": None, "unencrypted_regex": "^data$"},
        {"mac_only_encrypted": True},
    ],
)
def test_a_rule_whose_files_would_be_refused(fleet: Fleet, fields: dict[str, Any]) -> None:
    (problem,) = said(fleet, [rule(fleet)], **fields)
    assert "creation_rules[0]: does not encrypt data and stringData alone" in problem


def test_another_kind_of_key(fleet: Fleet) -> None:
    (problem,) = said(fleet, [rule(fleet, pgp="85D77543B3D624B63CEA9E6DBC17301B491B3F21")])
    assert "creation_rules[0]" in problem and "age recipients only" in problem


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("\ufeffcreation_rules: []\n", "byte order mark"),
        ("creation_rules: []\ncreation_rules: []\n", "a key is there twice"),
        ("creation_rules:\n  -\n  - {path_regex: x}\n", "creation_rules[0]: is not a mapping"),
        ("creation_rules: {a: b}\n", "creation_rules: is missing"),
        ("[]\n", "creation_rules: is missing"),
        ("", "creation_rules: is missing"),
        ("creation_rules: [[]]\n", "is not a mapping"),
        ("creation_rules: []\n", "has no rule for"),
        ("a: [\n", "is not valid YAML"),
    ],
)
def test_what_is_no_configuration_is_said_and_never_a_traceback(fleet: Fleet, text: str, wanted: str) -> None:
    (fleet.repository / ".sops.yaml").write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        fleet.read()
    assert any(".sops.yaml" in str(problem) and wanted in str(problem) for problem in caught.value.problems)
