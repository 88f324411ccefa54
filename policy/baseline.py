"""Findings that a team has accepted as they are, so that only new ones fail.

A fingerprint is of the rule, the file and what the finding names: it stays when lines move or words change.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from policy.rules.base import Finding
from secret_authority.core.errors import InvalidInputError, Problem

_VERSION = 1


def fingerprints(findings: Iterable[Finding]) -> list[str]:
    """A fingerprint for each finding; two that are alike are counted."""
    seen: Counter[str] = Counter()
    found: list[str] = []
    for finding in findings:
        names = sorted(set(finding.violation.names))
        text = json.dumps([finding.rule.id, finding.where.file or finding.where.urn, names])
        print_ = hashlib.sha256(text.encode()).hexdigest()[:32]
        seen[print_] += 1
        found.append(print_ if seen[print_] == 1 else f"{print_}-{seen[print_]}")
    return found


def write_baseline(findings: Sequence[Finding], path: Path) -> None:
    """Write the findings as a baseline. Raises `InvalidInputError` when the file cannot be written."""
    entries = [
        {"fingerprint": print_, "rule": f.rule.id, "file": f.where.file or f.where.urn, "subject": _first(f)}
        for f, print_ in zip(findings, fingerprints(findings), strict=True)
    ]
    text = json.dumps(
        {
            "version": _VERSION,
            "findings": sorted(entries, key=lambda e: (e["rule"], e["file"], e["subject"], e["fingerprint"])),
        },
        indent=2,
    )
    try:
        path.write_text(f"{text}\n")
    except OSError as error:
        raise InvalidInputError(
            [Problem(str(path), "", f"cannot be written: {error.strerror}", "check the path")]
        ) from None


def read_baseline(path: Path) -> frozenset[str]:
    """The fingerprints of a baseline. Raises `InvalidInputError`."""
    fix = "write it with `policy check --write-baseline`"
    try:
        document: Any = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError):
        raise InvalidInputError([Problem(str(path), "", "cannot be read", fix)]) from None
    except ValueError:
        raise InvalidInputError([Problem(str(path), "", "is not valid JSON", fix)]) from None
    entries = document.get("findings") if isinstance(document, dict) else None
    if not isinstance(entries, list) or document.get("version") != _VERSION:
        raise InvalidInputError([Problem(str(path), "", "is not a baseline of this version", fix)])
    return frozenset(str(entry.get("fingerprint")) for entry in entries if isinstance(entry, dict))


def without(findings: Sequence[Finding], known: frozenset[str]) -> tuple[list[Finding], int]:
    """The findings that a baseline does not have, and how many of it are gone."""
    prints = fingerprints(findings)
    new = [finding for finding, print_ in zip(findings, prints, strict=True) if print_ not in known]
    return new, len(known - set(prints))


def _first(finding: Finding) -> str:
    return finding.violation.names[0] if finding.violation.names else ""
