"""Findings as text, JSON and SARIF 2.1.0."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from policy.rules.base import Finding, Severity
from policy.rules.registry import RULES
from policy.settings import Level

DOCS = "docs/policy/rules.md"
# GitHub reads this number to sort security results.
_SCORE = {Severity.CRITICAL: "9.5", Severity.HIGH: "8.0", Severity.MEDIUM: "5.5", Severity.LOW: "3.0"}


def blocks(findings: Sequence[Finding]) -> bool:
    """Whether any finding is mandatory."""
    return any(finding.level is Level.MANDATORY for finding in findings)


def as_text(
    findings: Sequence[Finding], looked_at: int, elsewhere: Sequence[str] = (), unjudged: Sequence[str] = ()
) -> str:
    """For people: the worst first, each with rule, place, message and way out; then what was not looked at."""
    lines: list[str] = []
    for finding in findings:
        where = str(finding.where)
        lines.append(f"{finding.level}: {finding.rule.id} ({finding.rule.severity}){f'  {where}' if where else ''}")
        lines.append(f"    {finding.message}")
        lines.append(f"    RFC-SECOPS-0001 {finding.rule.rfc}. {finding.rule.fix}")
    lines += [f"not in this tree: {what}" for what in elsewhere]
    lines += [f"not judged: {what}" for what in unjudged]
    counts = Counter(finding.level.value for finding in findings)
    told = ", ".join(f"{counts[level.value]} {level.value}" for level in (Level.MANDATORY, Level.ADVISORY))
    lines.append(f"{looked_at} objects, {len(RULES)} rules: {told}")
    return "\n".join(lines)


def as_json(
    findings: Sequence[Finding], looked_at: int, elsewhere: Sequence[str] = (), unjudged: Sequence[str] = ()
) -> str:
    """For programs; the order is that of the text."""
    document = {
        "objects": looked_at,
        "notInThisTree": list(elsewhere),
        "notJudged": list(unjudged),
        "violations": sum(finding.level is Level.MANDATORY for finding in findings),
        "findings": [
            {
                "rule": finding.rule.id,
                "severity": finding.rule.severity.value,
                "level": finding.level.value,
                "message": finding.message,
                "file": finding.where.file or None,
                "line": finding.where.line if finding.where.file else None,
                "urn": finding.where.urn or None,
                "subjects": list(finding.violation.names),
                "rfc": finding.rule.rfc,
                "fix": finding.rule.fix,
            }
            for finding in findings
        ],
    }
    return json.dumps(document, indent=2)


def as_sarif(findings: Sequence[Finding], version: str) -> str:
    """For code hosts. A finding without a file is placed at the root of the tree."""
    used = list(dict.fromkeys(finding.rule for finding in findings))
    driver = {
        "name": "secret-authority",
        "version": version,
        "informationUri": "https://secret-authority.dev",
        "rules": [
            {
                "id": rule.id,
                "name": rule.title,
                "shortDescription": {"text": rule.title},
                "fullDescription": {"text": rule.why},
                "help": {"text": f"{rule.fix} See {DOCS}#{rule.id}."},
                "defaultConfiguration": {"level": _level(rule.level)},
                "properties": {"security-severity": _SCORE[rule.severity], "tags": ["security", "secrets"]},
            }
            for rule in used
        ],
    }
    results = [
        {
            "ruleId": finding.rule.id,
            "ruleIndex": used.index(finding.rule),
            "level": _level(finding.level),
            "message": {"text": finding.message},
            "locations": [_location(finding)],
        }
        for finding in findings
    ]
    run = {"tool": {"driver": driver}, "results": results, "columnKind": "unicodeCodePoints"}
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=2)


def _level(level: Level) -> str:
    return "error" if level is Level.MANDATORY else "warning"


def _location(finding: Finding) -> dict[str, Any]:
    where = finding.where
    place: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": where.file or ".", "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": max(where.line, 1)},
        }
    }
    if where.urn:
        place["logicalLocations"] = [{"fullyQualifiedName": where.urn}]
    return place
