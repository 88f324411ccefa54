"""The table of pins as typed values; refuses what it does not know."""

from __future__ import annotations

import platform
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchain.errors import ToolchainError

HERE = Path(__file__).resolve().parents[1]
CHECKOUT = HERE.parent
LOCKS = HERE / "go"


@dataclass(frozen=True)
class ModuleFile:
    """A file inside a pinned module; without a module, inside the lock's folder."""

    path: str
    module: str = ""


@dataclass(frozen=True)
class Release:
    """One official download. Without members the download itself is the program."""

    url: str
    sums: str
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class Patch:
    """A module that is built from a changed copy; its checksum is in the lock's folder `upstream`."""

    module: str
    without: tuple[str, ...] = ()
    instead: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Program:
    """One entry of the table `go`."""

    name: str
    version: str
    module: str
    package: str
    require: dict[str, str]
    replace: dict[str, str] = field(default_factory=dict)
    stamp: dict[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    embed: tuple[ModuleFile, ...] = ()
    files: tuple[ModuleFile, ...] = ()
    probe: tuple[tuple[str, ...], ...] = ()
    release: tuple[Release, ...] = ()
    patch: Patch | None = None
    real_file: bool = False
    seconds: int = 0

    @property
    def lock(self) -> Path:
        """The folder with go.mod and go.sum."""
        return LOCKS / self.name

    @property
    def called(self) -> tuple[str, ...]:
        """The names by which the program is called."""
        return self.names or (self.name,)

    def fill(self, template: str, name: str = "", arch: str = "") -> str:
        """Fill in the version, the architecture (default: this machine's) and, in a URL, the name that is fetched."""
        arch = arch or architecture()
        arch_pulumi = {"amd64": "x64"}.get(arch, arch)
        return template.format(version=self.version, arch=arch, arch_pulumi=arch_pulumi, name=name)


@dataclass(frozen=True)
class Manifests:
    """A folder of a pinned module, copied as it is."""

    name: str
    lock: str  # name of the program whose go.sum holds the module's checksum
    module: str
    path: str


@dataclass(frozen=True)
class Pins:
    """The whole table."""

    programs: dict[str, Program]
    manifests: dict[str, Manifests]

    def program(self, name: str) -> Program:
        """The program of an entry's name, or of a name by which it is called."""
        for program in self.programs.values():
            if name == program.name or name in program.called:
                return program
        known = ", ".join(sorted(self.programs))
        raise ToolchainError(f"{name} is not in toolchain/pins.toml; known: {known}")


def architecture() -> str:
    """Go's name of this machine's architecture."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def load(path: Path = HERE / "pins.toml") -> Pins:
    """Read the table.

    Raises ToolchainError when an entry has an unknown or missing field.
    """
    with path.open("rb") as file:
        table = tomllib.load(file)
    try:
        return Pins(
            programs={name: _program(name, entry) for name, entry in table["go"].items()},
            manifests={name: Manifests(name=name, **entry) for name, entry in table["manifests"].items()},
        )
    except (TypeError, KeyError) as error:
        raise ToolchainError(f"{path}: {error}") from error


def _program(name: str, entry: dict[str, Any]) -> Program:
    values = dict(entry)
    patch = values.pop("patch", None)
    replace = dict(values.pop("replace", {}))
    for version, modules in values.pop("replace_at", {}).items():
        replace |= {module: f"{module}@{version}" for module in modules}
    try:
        return Program(
            name=name,
            replace=replace,
            patch=patch and _patch(**patch),
            names=tuple(values.pop("names", ())),
            embed=tuple(ModuleFile(**file) for file in values.pop("embed", ())),
            files=tuple(ModuleFile(**file) for file in values.pop("files", ())),
            probe=tuple(tuple(argv) for argv in values.pop("probe", ())),
            release=tuple(
                Release(item["url"], item["sums"], tuple(item.get("members", ()))) for item in values.pop("release", ())
            ),
            **values,
        )
    except (TypeError, KeyError) as error:
        raise ToolchainError(f"toolchain/pins.toml, [go.{name}]: {error}") from error


def _patch(module: str, without: list[str], instead: dict[str, str]) -> Patch:
    return Patch(module, tuple(without), tuple(sorted(instead.items())))
