"""The bridged providers speak the type tokens and property names of the Python packages."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest

from toolchain.errors import ToolchainError
from toolchain.programs import cache as toolchain_cache
from toolchain.programs import pins, provide

PROVIDERS = ("vault", "random")


@cache
def described(provider: str) -> dict[str, set[str]]:
    """What the built provider says of itself: token -> property names."""
    program = pins.load().program(f"pulumi-resource-{provider}")
    record = toolchain_cache.record(program)
    if record is not None and record.origin == "release":
        pytest.skip("the official provider is in use; it and the Python package have one source")
    try:
        binary = provide.location(program, program.name)
    except ToolchainError as error:
        pytest.skip(str(error))
    shown = subprocess.run([binary, "-describe"], capture_output=True, text=True, check=True)
    return {token: set(properties) for token, properties in json.loads(shown.stdout).items()}


@dataclass(frozen=True)
class Sdk:
    """What the Python package has: resources (token -> names of the output properties) and tokens of functions."""

    resources: dict[str, set[str]]
    functions: set[str]


@cache
def sdk(provider: str) -> Sdk:
    """Read file by file: the trees of all at once make the garbage collector the most expensive part."""
    spec = importlib.util.find_spec(f"pulumi_{provider}")
    assert spec is not None and spec.origin is not None
    found = Sdk({}, set())
    for file in Path(spec.origin).parent.rglob("*.py"):
        for node in ast.parse(file.read_text()).body:
            tokens = _tokens(node, provider)
            found.functions.update(token for method, token in tokens if method == "invoke")
            made = [token for method, token in tokens if method == "__init__"]
            if isinstance(node, ast.ClassDef) and made:
                found.resources[made[0]] = {name for function in node.body if (name := _getter(function))}
    return found


def _tokens(node: ast.AST, provider: str) -> list[tuple[str, str]]:
    """Methods, and first arguments of their calls that look like a token, for example 'vault:index/mount:Mount'."""
    return [
        (call.func.attr, call.args[0].value)
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
        and call.args[0].value.startswith(f"{provider}:")
    ]


def _getter(function: ast.stmt) -> str | None:
    """The engine's name of a property: @pulumi.getter, or @pulumi.getter(name="...")."""
    if not isinstance(function, ast.FunctionDef):
        return None
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Attribute) and decorator.attr == "getter":
            return function.name
        if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute):
            for keyword in decorator.keywords:
                if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                    return str(keyword.value.value)
    return None


@pytest.mark.parametrize("provider", PROVIDERS)
def test_version_is_that_of_the_python_package(provider: str) -> None:
    assert pins.load().program(f"pulumi-resource-{provider}").version == version(f"pulumi-{provider}")


def test_kubernetes_and_cli_versions_are_those_of_the_python_packages() -> None:
    table = pins.load()
    assert table.program("pulumi-resource-kubernetes").version == version("pulumi-kubernetes")
    assert table.program("pulumi").version == version("pulumi")
    assert table.program("pulumi-language-python").version == version("pulumi")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_tokens_are_exactly_those_of_the_python_package(provider: str) -> None:
    ours, theirs = set(described(provider)), set(sdk(provider).resources) | sdk(provider).functions
    assert len(theirs) > {"vault": 190, "random": 9}[provider]
    assert theirs - ours == set()
    assert ours - theirs == set()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_properties_are_exactly_those_of_the_python_package(provider: str) -> None:
    ours = described(provider)
    different = {}
    for token, properties in sdk(provider).resources.items():
        # Terraform's own "id" is Pulumi's id, not a property.
        missing, more = properties - ours[token], ours[token] - properties - {"id"}
        if missing or more:
            different[token] = (missing, more)
    assert different == {}
