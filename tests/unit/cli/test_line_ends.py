"""Values in YAML that a person writes: what YAML would change inside of one is refused, the rest arrives."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.commands.enter import read_values
from secret_authority.core.errors import InvalidInputError
from secret_authority.repository.catalogue.config_values import read_config_values
from secret_authority.repository.layout import Layout
from tests.support.fleets import CLUSTER, new_fleet

CHANGED = [
    'a: "x\x85y"\nb: z\n',
    "a: 'x\x85y'\nb: z\n",
    'a: "x\ry"\nb: z\n',
    'a: "x\r\n  y"\r\nb: z\r\n',
    "a: |\r\n  x\r\n  y\r\nb: z\r\n",
    "a: |\n  x\u2028y\nb: z\n",
    "a: >-\r\n  x\r\n  y\r\nb: z\r\n",
    "b: z\na: x\u2029y\n",
]
KEPT = [
    ("a: x\r\nb: z\r\n", "x"),
    ('a: "x"\r\nb: z\r\n', "x"),
    ("# note\r\n\r\na: x # y\r\nb: z", "x"),
    ('a: "x\\r\\n\\x85\\L\\P"\nb: z\n', "x\r\n\x85\u2028\u2029"),
    ("a: |\n  x\n  y\nb: z\n", "x\ny\n"),
    ('{"a": "x\\u0085\\r", "b": "z"}', "x\x85\r"),
]


@pytest.mark.parametrize("text", CHANGED)
def test_enter_refuses_a_mapping_in_which_yaml_changes_a_value(tmp_path: Path, text: str) -> None:
    file = tmp_path / "values.yaml"
    file.write_bytes(text.encode())
    with pytest.raises(InvalidInputError) as caught:
        read_values(["a", "b"], file, "name")
    (problem,) = caught.value.problems
    assert problem.field.startswith("line ") and "YAML would change" in problem.message
    assert "escapes" in problem.fix


@pytest.mark.parametrize(("text", "value"), KEPT)
def test_enter_takes_a_mapping_as_it_is(tmp_path: Path, text: str, value: str) -> None:
    file = tmp_path / "values.yaml"
    file.write_bytes(text.encode())
    assert read_values(["a", "b"], file, "name") == {"a": value, "b": "z"}


@pytest.mark.parametrize("text", ['host: "db\x85"\nport: "5432"\n', 'host: |\r\n  a\r\n  b\r\nport: "5432"\r\n'])
def test_configuration_in_git_is_read_in_the_same_way(tmp_path: Path, text: str) -> None:
    fleet = new_fleet(tmp_path)
    folder = Layout.of(CLUSTER).config
    (path,) = (fleet.repository / folder).iterdir()
    before = read_config_values(fleet.repository, folder, fleet.read().catalogue)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_config_values(fleet.repository, folder, fleet.read().catalogue) == before
    path.write_bytes(text.encode())
    with pytest.raises(InvalidInputError) as caught:
        read_config_values(fleet.repository, folder, fleet.read().catalogue)
    assert any("YAML would change" in problem.message and problem.field for problem in caught.value.problems)
