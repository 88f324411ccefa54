"""Inputs of registered resources in a form that two runs with different random fleets have in common.

`python -m tests.support.recorded_inputs PROGRAM` writes the record of the program in that folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from examples import make_fleet
from tests.support import registered_program

HOME = Path(__file__).parents[2]
FIXTURE = HOME / "tests/fixtures/phase_4"
RECORD = FIXTURE / "registered.json"
# Urn without stack and project -> field of the second level -> short hash of its value.
Record = dict[str, dict[str, str]]


def run(
    program: Path, work: Path, config: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    """What the program in the folder `program` registers for a fresh copy of the recorded fleet, with these `files`."""
    repository = work / "fleet"
    template, make_fleet.TEMPLATE = make_fleet.TEMPLATE, FIXTURE / "fleet"
    try:
        make_fleet.make_fleet(repository, work / "root.age")
    finally:
        make_fleet.TEMPLATE = template
    for name, text in (files or {}).items():
        (repository / name).write_text(text)
    command = [sys.executable, registered_program.__file__, str(repository), json.dumps(dict(config or {}))]
    done = subprocess.run(command, cwd=program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = _replaced(json.loads(done.stdout.splitlines()[-1]), _random(repository))
    return {short(urn): entry for urn, entry in found.items()}


def short(urn: str) -> str:
    """The type chain and the name, as in `secret-authority:layer:GitOps$kubernetes:core/v1:Secret::gitops-git-ca`."""
    chain, name = urn.split("::", 3)[2:]
    return f"{chain.removeprefix('pulumi:pulumi:Stack$')}::{name}"


def fields(entry: Mapping[str, Any]) -> dict[str, str]:
    """A hash for each option and for each input of the second level."""
    flat: dict[str, Any] = {f"options.{name}": value for name, value in entry["options"].items() if value}
    for name, value in entry["inputs"].items():
        if name == "spec" and entry["inputs"]["kind"] == "CustomResourceDefinition":
            continue  # upstream's, and another with each pin
        inner = value if isinstance(value, dict) else {"": value}
        flat |= {f"{name}.{key}".rstrip("."): below for key, below in inner.items()}
    return {name: hashlib.sha256(json.dumps(v, sort_keys=True).encode()).hexdigest()[:8] for name, v in flat.items()}


def _random(repository: Path) -> dict[str, str]:
    """What differs between two fleets, and the word that takes its place."""
    trust = yaml.safe_load((repository / "root-of-trust.yaml").read_text())
    return {
        **{entry["recipient"]: "<root>" for entry in trust["root"]},
        **{entry["recipient"]: "<cluster>" for entry in trust["clusters"]},
        str(repository): "<repository>",
        # A setting, by its tag in the record.
        registered_program.ENGINE_IMAGE: "engine:recorded",
    }


def _replaced(value: Any, words: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        # What is computed from random things.
        digests = {"digest", "secret-authority.dev/settings", "secret-authority.dev/task"}
        return {key: "<digest>" if key in digests else _replaced(below, words) for key, below in value.items()}
    if isinstance(value, list):
        items = [_replaced(below, words) for below in value]
        return sorted(items) if items and all(item in words.values() for item in items) else items
    if not isinstance(value, str):
        return value
    with contextlib.suppress(ValueError):
        parsed = json.loads(value)
        return json.dumps(_replaced(parsed, words), sort_keys=True) if isinstance(parsed, dict) else value
    for word, shown in words.items():
        value = value.replace(word, shown)
    return re.sub(r"(?<=-evidence-)[0-9a-f]{10}$", "<digest>", value)


def main() -> None:
    program = Path(sys.argv[1])
    work = Path(tempfile.mkdtemp())
    try:
        record = {urn: fields(entry) for urn, entry in sorted(run(program, work).items())}
    finally:
        shutil.rmtree(work)
    lines = [f"{json.dumps(urn)}: {json.dumps(found, sort_keys=True)}" for urn, found in record.items()]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
