"""SARIF as OASIS defines it (2.1.0, section 3) and as GitHub code scanning reads it: properties, types, values.

Objects take no other properties than those of the specification; what is not used here is not in the table.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from tests.support.policy.cases import CASES
from tests.support.policy.stacks import state_of
from tests.support.policy.trees import Repository, corpus

LEVELS = {"none", "note", "warning", "error"}
# A reference as RFC 3986 writes it: no spaces, no letters beyond ASCII.
URI = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
TEXT, OBJECT = str, dict
# Object -> property -> (is it required, what it has to be: a type, a set of values, a pattern, or an object's name;
# a list has objects of the one name in it).
SPECIFICATION: dict[str, dict[str, tuple[bool, Any]]] = {
    "sarifLog": {"$schema": (False, URI), "version": (True, {"2.1.0"}), "runs": (True, ["run"])},
    "run": {
        "tool": (True, "tool"),
        "results": (True, ["result"]),
        "columnKind": (False, {"utf16CodeUnits", "unicodeCodePoints"}),
        "invocations": (False, ["invocation"]),
        "properties": (False, OBJECT),
    },
    "tool": {"driver": (True, "toolComponent")},
    "toolComponent": {
        "name": (True, TEXT),
        "version": (False, TEXT),
        "informationUri": (False, URI),
        "rules": (True, ["reportingDescriptor"]),
    },
    "reportingDescriptor": {
        "id": (True, TEXT),
        "name": (False, TEXT),
        "shortDescription": (True, "message"),
        "fullDescription": (True, "message"),
        "help": (True, "message"),
        "defaultConfiguration": (False, "reportingConfiguration"),
        "properties": (False, "ruleProperties"),
    },
    "reportingConfiguration": {"level": (False, LEVELS)},
    # Of GitHub: a number from 0 to 10 as text.
    "ruleProperties": {"security-severity": (True, re.compile(r"\d\.\d|10\.0")), "tags": (True, [TEXT])},
    "message": {"text": (True, TEXT)},
    "result": {
        "ruleId": (True, TEXT),
        "ruleIndex": (False, int),
        "level": (False, LEVELS),
        "message": (True, "message"),
        "locations": (True, ["location"]),
        "partialFingerprints": (True, OBJECT),
    },
    "location": {"physicalLocation": (True, "physicalLocation"), "logicalLocations": (False, ["logicalLocation"])},
    "physicalLocation": {"artifactLocation": (True, "artifactLocation"), "region": (True, "region")},
    "artifactLocation": {"uri": (True, URI), "uriBaseId": (False, TEXT)},
    "region": {"startLine": (True, int)},
    "logicalLocation": {"fullyQualifiedName": (True, TEXT)},
    "invocation": {"executionSuccessful": (True, bool), "toolExecutionNotifications": (False, ["notification"])},
    "notification": {"level": (False, LEVELS), "message": (True, "message")},
}


def faults(value: Any, wanted: Any, where: str = "") -> list[str]:
    """What is wrong with a value."""
    if isinstance(wanted, list):
        if not isinstance(value, list):
            return [f"{where} is no array"]
        return [fault for index, inner in enumerate(value) for fault in faults(inner, wanted[0], f"{where}[{index}]")]
    if isinstance(wanted, set):
        return [] if value in wanted else [f"{where} is none of the values"]
    if isinstance(wanted, re.Pattern):
        return [] if isinstance(value, str) and wanted.fullmatch(value) else [f"{where} has another form"]
    if isinstance(wanted, type):
        return [] if type(value) is wanted and value != "" else [f"{where} is no {wanted.__name__}, or empty"]
    if not isinstance(value, dict):
        return [f"{where} is no object"]
    known = SPECIFICATION[wanted]
    found = [f"{where}.{name} is not in the specification" for name in value if name not in known]
    found += [f"{where}.{name} is missing" for name, (needed, _) in known.items() if needed and name not in value]
    for name, inner in value.items():
        if name in known:
            found += faults(inner, known[name][1], f"{where}.{name}")
    return found


def assert_valid(text: str) -> int:
    document = json.loads(text)
    assert faults(document, "sarifLog") == []
    (run,) = document["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(rules) == len(set(rules))
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["locations"][0]["physicalLocation"]["region"]["startLine"] >= 1
        # GitHub takes the first location, relative to the root of the checkout.
        assert not result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].startswith(("/", "file:"))
        assert all(isinstance(value, str) and value for value in result["partialFingerprints"].values())
    # GitHub takes no more than these.
    assert len(run["results"]) <= 25_000
    return len(run["results"])


@pytest.mark.parametrize("repository", corpus(), ids=lambda repository: repository.name)
def test_every_tree_of_the_corpus(repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = repository.write(tmp_path / "tree")
    if main(["policy", "check", str(root), "--format", "sarif", "--profile", "rfc"]) != 2:
        assert_valid(capsys.readouterr().out)


def test_names_of_files_are_written_as_references(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repository,) = (one for one in corpus() if one.name == "in-the-clear")
    root = repository.write(tmp_path / "tree")
    (root / "secrets").rename(root / "ge heim é")
    main(["policy", "check", str(root), "--format", "sarif", "--profile", "rfc"])
    text = capsys.readouterr().out
    assert assert_valid(text)
    assert "ge%20heim%20%C3%A9/" in text


def test_a_state_has_logical_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state.json"
    state.write_text(json.dumps(state_of(CASES[0].bad)))
    main(["policy", "check", "--state", str(state), "--format", "sarif"])
    text = capsys.readouterr().out
    assert assert_valid(text)
    assert "fullyQualifiedName" in text


def test_the_table_finds_what_is_wrong() -> None:
    assert faults({"version": "2.1", "runs": {}, "extra": 1}, "sarifLog") == [
        ".extra is not in the specification",
        ".version is none of the values",
        ".runs is no array",
    ]
