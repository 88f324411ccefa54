"""The floors of the house: what may import what, and that no two modules import each other in a circle.

Every import counts, also one inside of a function or under TYPE_CHECKING.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]
LIBRARY = "secret_authority"
# Of two packages, the one with the lower number may not import the other; with the same number, neither may.
FLOORS = {
    f"{LIBRARY}.core": 0,
    f"{LIBRARY}.contract": 1,
    f"{LIBRARY}.clients": 2,
    f"{LIBRARY}.repository": 3,
    # On the operator's machine only: it is not in the engine's image.
    f"{LIBRARY}.access": 3.5,
    f"{LIBRARY}.engine": 4,
    "components": 5,
    "policy": 5,
    "toolchain": 5,
    "cli": 6,
    "__main__": 6,
}
# Floors that do not go by number alone: package -> what it may import of the library.
ONLY = {
    "toolchain": ("secret_authority.contract", "secret_authority.core", "secret_authority.repository"),
    "policy": ("secret_authority.contract", "secret_authority.core", "secret_authority.repository"),
    "secret_authority.engine": (
        "secret_authority.engine",
        "secret_authority.contract",
        "secret_authority.core",
        "secret_authority.clients",
        "secret_authority.repository",
    ),
}


def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    roots = {name.partition(".")[0] for name in FLOORS}
    found = {"__main__": ROOT / "__main__.py"}
    for path in sorted(path for root in roots - {"__main__"} for path in (ROOT / root).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> Iterator[str]:
    """What a module imports, as dotted names: of `from a import b` both `a` and `a.b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def graph() -> dict[str, set[str]]:
    known = modules()
    return {name: {to for to in imports(path) if to in known and to != name} for name, path in known.items()}


def floor(module: str) -> tuple[str, float] | None:
    return next(((p, n) for p, n in FLOORS.items() if module == p or module.startswith(f"{p}.")), None)


def test_every_module_is_on_a_floor() -> None:
    assert [name for name in modules() if floor(name) is None and name != LIBRARY] == []


def test_no_module_imports_a_higher_floor() -> None:
    wrong: list[str] = []
    for module, wanted in graph().items():
        here = floor(module)
        for other in wanted:
            there = floor(other)
            if here and there and here[0] != there[0] and there[1] >= here[1]:
                wrong.append(f"{module} imports {other}")
    assert wrong == []


def test_some_import_only_a_part_of_the_library() -> None:
    wrong = [
        f"{module} imports {other}"
        for package, allowed in ONLY.items()
        for module, wanted in graph().items()
        for other in wanted
        if module.split(".")[: len(package.split("."))] == package.split(".")
        and other.startswith(f"{LIBRARY}.")
        and not other.startswith(allowed)
    ]
    assert wrong == []


def test_no_circle_in_any_folder() -> None:
    """Between modules, and between the folders of one package."""
    edges = graph()
    for depth in (1, 2, 3, 4, 99):
        grouped: dict[str, set[str]] = {}
        for module, wanted in edges.items():
            here = ".".join(module.split(".")[:depth])
            there = {".".join(other.split(".")[:depth]) for other in wanted}
            grouped.setdefault(here, set()).update(there - {here})
        assert circle(grouped) == [], f"at depth {depth}"


def circle(edges: dict[str, set[str]]) -> list[str]:
    """One circle, empty when there is none."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for other in sorted(edges.get(node, ())):
            if found := visit(other, [*path, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(edges) if (found := visit(node, []))), [])


def test_a_circle_would_be_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c", "b"]
    assert len(graph()["secret_authority.engine.runtime_authority.controller"]) > 10
