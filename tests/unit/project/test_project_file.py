"""Pulumi.yaml declares what the program reads: no more, no less, each with a description."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from components.settings.vault import FIELDS

ROOT = Path(__file__).parents[3]
DECLARED = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
_READ = re.compile(r"\b[Cc]onfig(?:\(\))?\.(?:get|require)(?:_\w+)?\(\s*\"(\w+)\"")


def test_every_key_that_is_read_is_declared() -> None:
    files = [ROOT / "__main__.py", *sorted((ROOT / "components").rglob("*.py"))]
    read = {key for file in files for key in _READ.findall(file.read_text())}
    assert {"phase", "demo", "bootstrapPaths", "vault"} <= read
    assert read == {key for key in DECLARED if ":" not in key}


def test_every_key_says_what_it_is() -> None:
    plain = {key: value for key, value in DECLARED.items() if ":" not in key}
    assert [key for key, value in plain.items() if not value.get("type") or not value.get("description")] == []


def test_the_vault_object_names_its_fields() -> None:
    assert [field for field in FIELDS if field not in DECLARED["vault"]["description"]] == []
