"""Small Git trees for tests, written as one text: `-- path --` starts a file, what stands before it is a header."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from policy.readers.git.tree import read_tree
from policy.rules.registry import BY_ID, check, new_context
from policy.settings import Settings, parse_settings

_FILE = re.compile(r"^-- (\S+) --$", re.MULTILINE)
# Rules that only a Git tree can break; the corpus holds their cases.
TREE_RULES = frozenset(
    {
        "uncatalogued-secret",
        "missing-bootstrap-manifest",
        "bootstrap-label",
        "plaintext-secret",
        "half-encrypted-secret",
        "sops-rules",
        "encrypted-not-decrypted",
        "bootstrap-file",
        "reserved-namespace",
        "unread-manifest",
        "coverage",
    }
)


@dataclass(frozen=True)
class Repository:
    """A tree with what is expected of it: rule -> a part of each message, in any order."""

    name: str
    about: str
    expect: dict[str, list[str]]
    settings: Settings
    files: dict[str, str]

    def write(self, into: Path) -> Path:
        for file, text in self.files.items():
            path = into / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return into


def parse_repository(text: str, name: str) -> Repository:
    pieces = _FILE.split(text)
    header: dict[str, Any] = yaml.safe_load(pieces[0]) or {}
    files = dict(zip(pieces[1::2], (piece.lstrip("\n") for piece in pieces[2::2]), strict=True))
    expect = {rule: list(parts) for rule, parts in (header.get("expect") or {}).items()}
    unknown = set(expect) - set(BY_ID)
    if unknown:
        raise ValueError(f"{name} expects rules that do not exist: {unknown}")
    return Repository(
        name, header["about"], expect, parse_settings({"profile": "rfc", **(header.get("settings") or {})}, name), files
    )


def findings_of(root: Path, settings: Settings) -> list[tuple[str, str]]:
    tree = read_tree(root, settings)
    return [
        (f.rule.id, f.message)
        for f in check(new_context(tree.resources, settings, tree.problems, coverage=tree.coverage))
    ]


CORPUS = Path(__file__).parents[2] / "unit" / "policy" / "corpus"
_AGE = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"
CIPHER = "ENC[AES256_GCM,data:p673w==,iv:YY=,aad:UQ=,tag:A=,type:str]"
SOPS_BLOCK = f"""sops:
  age:
    - recipient: {_AGE}
      enc: |
        -----BEGIN AGE ENCRYPTED FILE-----
        YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOQ==
        -----END AGE ENCRYPTED FILE-----
  lastmodified: "2026-01-01T00:00:00Z"
  mac: {CIPHER}
  encrypted_regex: ^(data|stringData)$
  version: 3.11.0
"""


def corpus() -> list[Repository]:
    """Every repository of the corpus. `<<enc>>` and `<<sops>>` stand for ciphertext and a sops block."""
    return [
        parse_repository(file.read_text().replace("<<enc>>", CIPHER).replace("<<sops>>\n", SOPS_BLOCK), file.stem)
        for file in sorted(CORPUS.glob("*.txt"))
    ]
