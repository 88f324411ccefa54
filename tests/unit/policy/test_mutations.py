"""Manifests with any field of any type: no traceback, no rule that gives up, and the same verdict twice.

`MUTATIONS=20000` runs as many; the default is a sample.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from policy.readers.git.tree import read_tree
from policy.rules.registry import check, new_context, unjudged
from policy.settings import Settings
from tests.support.policy.trees import Repository, corpus

COUNT = int(os.environ.get("MUTATIONS", "400"))
PER_TREE = 4
VALUES: list[Any] = [
    None,
    [],
    {},
    [1],
    [[]],
    [{}],
    {"a": []},
    1,
    -1,
    1.5,
    True,
    "",
    "x" * 300,
    "a/b",
    "${X}",
    "${X",
    "\0",
    "ENC[",
]
REPOSITORIES = [r for r in corpus() if r.name != "broken-yaml"]


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += paths(inner, (*path, index))
    return found


def mutated(document: Any, chance: random.Random) -> Any:
    spots = paths(document)
    if not spots:
        return document
    *above, last = chance.choice(spots)
    parent = document
    for step in above:
        parent = parent[step]
    if chance.random() < 0.2 and isinstance(parent, dict):
        del parent[last]
    else:
        parent[last] = chance.choice(VALUES)
    return document


def write(repository: Repository, into: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    repository.write(into)
    files = sorted(f for f in repository.files if f.endswith((".yaml", ".yml")))
    for _ in range(PER_TREE):
        file = into / chance.choice(files)
        try:
            documents = list(yaml.safe_load_all(file.read_text()))
        except yaml.YAMLError:
            continue
        if documents:
            number = chance.randrange(len(documents))
            documents[number] = mutated(documents[number], chance)
            file.write_text(yaml.safe_dump_all(documents))


def verdict(root: Path) -> list[tuple[str, str, str]]:
    settings = Settings.model_validate({"profile": "rfc"})
    tree = read_tree(root, settings)
    context = new_context(tree.resources, settings, tree.problems, tree.elsewhere, tree.unjudged, tree.coverage)
    unjudged(context)  # What is only named has to take any type as well.
    return [(f.rule.id, str(f.where), f.message) for f in check(context)]


@pytest.mark.parametrize("part", range(8))
def test_any_type_in_any_field(part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Subprocesses are slow, and no more is learnt from them: what kustomize would build is worked out here.
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    for number in range(part, max(COUNT // PER_TREE, 8), 8):
        repository = REPOSITORIES[number % len(REPOSITORIES)]
        root = tmp_path / str(number)
        root.mkdir()
        write(repository, root, number)
        found = verdict(root)
        assert not [f for f in found if "cannot judge" in f[2]], (repository.name, number, found)
        if number % 10 == 0:
            assert found == verdict(root), (repository.name, number)
