"""A name that program and engine share is written once, in contract/names.py."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from secret_authority.contract import names

ROOT = Path(__file__).parents[3]
FOLDERS = ("secret_authority/engine", "secret_authority/access", "secret_authority/clients", "components", "cli")
# Words that mean other things as well, so that a literal of them says nothing: Vault's own name, the namespace of a
# platform part that is a noun, and the like.
ORDINARY = {
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/managed-by",
    "seal",
    "requests",
    "vault",
    "consumed",
    "events",
    "fleet",
    "ca.crt",
    "consumer-",
    "secret-authority",
    "external-secrets",
    "status",
}


# The name of a volume, and not of the Secret.
ELSEWHERE = {("components/consumption/engine.py", "vault-ca"), ("components/kit/evidence_job.py", "task")}


def shared() -> dict[str, str]:
    """Every text of names.py that can only mean that name, with the constant that holds it."""
    found: dict[str, str] = {}
    for name, value in vars(names).items():
        if name.isupper():
            for text in value.items() if isinstance(value, dict) else [(value,)]:
                found |= {part: name for part in text if isinstance(part, str) and part not in ORDINARY}
    return found


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """The string constants of a file, those inside of f-strings as well, without its docstrings."""
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def test_the_names_of_the_contract_are_distinct_enough_to_look_for() -> None:
    assert len(shared()) > 40


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_name_of_the_contract_is_spelled_again(folder: str) -> None:
    wanted = shared()
    again = [
        f"{path.relative_to(ROOT)}:{line}: {text!r} is {wanted[text]}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, text in literals(path)
        if text in wanted and (str(path.relative_to(ROOT)), text) not in ELSEWHERE
    ]
    # A name that is built from the domain is one of the contract too.
    again += [
        f"{path.relative_to(ROOT)}:{line}: {text!r} spells {names.DOMAIN}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, text in literals(path)
        if f"{names.DOMAIN}/" in text and text not in wanted
    ]
    assert again == []
