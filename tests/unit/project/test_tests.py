"""Tests do not lean on each other, nor on what a module keeps to itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "tests").rglob("*.py"))
# Private parts of other people's programs, which have no public way to the same.
FOREIGN = {"_special_sig_key", "_PolicyAnalyzerServicer", "_SubParsersAction", "_actions"}


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in FOREIGN


def own(node: ast.expr) -> bool:
    """Whether this is the object itself, or its class, or what it inherits."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "super"
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def wrong(tree: ast.Module) -> Iterator[str]:
    inside = {id(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute) and own_part(node.value)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            modules = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            if any(part.startswith("test_") for module in modules for part in module.split(".") if "tests" in module):
                yield f"line {node.lineno} imports the test module {node.module}"
            if any(private(alias.name) for alias in node.names):
                yield f"line {node.lineno} imports a private name"
        elif isinstance(node, ast.Attribute) and private(node.attr) and id(node) not in inside and not own(node.value):
            yield f"line {node.lineno} reads {ast.unparse(node)}"
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "setattr":
            texts = [part.value for part in node.args[:2] if isinstance(part, ast.Constant)]
            if any(isinstance(text, str) and private(text.rpartition(".")[2]) for text in texts):
                yield f"line {node.lineno} replaces a private name"


def own_part(node: ast.expr) -> bool:
    """A part of an object that the object itself has made."""
    return isinstance(node, ast.Attribute) and own(node.value)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_public_names_and_no_other_test_module(file: Path) -> None:
    assert list(wrong(ast.parse(file.read_text()))) == []


@pytest.mark.parametrize(
    "line",
    [
        "from tests.unit.core.test_ledger import NAMES",
        "from tests.unit.core import test_ledger",
        "from policy.inventory.identity import _reduce",
        "vault._token",
        'monkeypatch.setattr("cli.main._parse", None)',
        'monkeypatch.setattr(layout, "_routes", list)',
    ],
)
def test_each_of_these_is_found(line: str) -> None:
    assert list(wrong(ast.parse(line)))
