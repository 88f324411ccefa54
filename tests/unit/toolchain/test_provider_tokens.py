"""The bridged providers speak the type tokens and property names of the Python packages."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest

from toolchain.errors import ToolchainError
from toolchain.programs import cache as toolchain_cache
from toolchain.programs import pins, provide

PROVIDERS = ("vault", "random")


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


def sdk_classes(provider: str) -> dict[str, set[str]]:
    """The Python package's resources: token -> names of the output properties."""
    found: dict[str, set[str]] = {}
    for tree in _sources(provider):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                tokens = _tokens(node, "__init__", provider)
                if tokens:
                    found[tokens[0]] = {name for function in node.body if (name := _getter(function))}
    return found


def sdk_functions(provider: str) -> set[str]:
    """The Python package's functions: tokens."""
    return {token for tree in _sources(provider) for token in _tokens(tree, "invoke", provider)}


@cache
def _sources(provider: str) -> list[ast.Module]:
    spec = importlib.util.find_spec(f"pulumi_{provider}")
    assert spec is not None and spec.origin is not None
    return [ast.parse(file.read_text()) for file in Path(spec.origin).parent.rglob("*.py")]


def _tokens(node: ast.AST, method: str, provider: str) -> list[str]:
    """First arguments of the calls of a method that look like a token, for example 'vault:index/mount:Mount'."""
    return [
        call.args[0].value
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == method
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
    ours, theirs = set(described(provider)), set(sdk_classes(provider)) | sdk_functions(provider)
    assert len(theirs) > {"vault": 190, "random": 9}[provider]
    assert theirs - ours == set()
    assert ours - theirs == set()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_properties_are_exactly_those_of_the_python_package(provider: str) -> None:
    ours = described(provider)
    different = {}
    for token, properties in sdk_classes(provider).items():
        # Terraform's own "id" is Pulumi's id, not a property.
        missing, more = properties - ours[token], ours[token] - properties - {"id"}
        if missing or more:
            different[token] = (missing, more)
    assert different == {}
