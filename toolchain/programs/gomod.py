"""Reads go.mod and go.sum files as far as the pins need it.

Format: https://go.dev/ref/mod#go-mod-file and https://go.dev/ref/mod#go-sum-files
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class GoMod:
    """The directives of one go.mod file."""

    module: str = ""
    go: str = ""
    require: dict[str, str] = field(default_factory=dict)  # module -> version
    replace: dict[str, str] = field(default_factory=dict)  # module -> "module@version"
    tools: list[str] = field(default_factory=list)  # packages


def read_mod(path: Path) -> GoMod:
    """Read a go.mod file that the go command wrote (one directive a line, or a block)."""
    mod = GoMod()
    block = ""
    for raw in path.read_text().splitlines():
        words = raw.split("//", 1)[0].split()
        if not words:
            continue
        if words[-1] == "(":
            block = words[0]
        elif words == [")"]:
            block = ""
        elif block:
            _directive(mod, block, words)
        else:
            _directive(mod, words[0], words[1:])
    return mod


def _directive(mod: GoMod, kind: str, words: list[str]) -> None:
    if kind == "module":
        mod.module = words[0]
    elif kind == "go":
        mod.go = words[0]
    elif kind == "require":
        mod.require[words[0]] = words[1]
    elif kind == "replace":
        mod.replace[words[0]] = "@".join(words[words.index("=>") + 1 :])
    elif kind == "tool":
        mod.tools.append(words[0])


def read_sum(path: Path) -> dict[str, str]:
    """Checksums of a go.sum file, which a module without requirements does not have.

    Gives "module@version" or "module@version/go.mod" -> "h1:...".
    """
    sums: dict[str, str] = {}
    if not path.exists():
        return sums
    for line in path.read_text().splitlines():
        module, version, checksum = line.split()
        sums[f"{module}@{version}"] = checksum
    return sums
