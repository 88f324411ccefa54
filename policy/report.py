"""Findings as text, JSON and SARIF 2.1.0, each with what was read and what was not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any
from urllib.parse import quote

from policy.baseline import fingerprints
from policy.context import RuleContext
from policy.inventory.coverage import NOT_IN_GIT, Coverage
from policy.rules.base import Finding, Severity
from policy.rules.git_hygiene import minimum_of
from policy.rules.registry import RULES, counts, unjudged
from policy.settings import Level

DOCS = "docs/policy/rules.md"
# GitHub reads this number to sort security results.
_SCORE = {Severity.CRITICAL: "9.5", Severity.HIGH: "8.0", Severity.MEDIUM: "5.5", Severity.LOW: "3.0"}
# How many findings come first, and how many lines a list of files has.
_FIRST = 5
_LISTED = 10


def blocks(findings: Iterable[Finding]) -> bool:
    """Whether any finding is mandatory."""
    return any(finding.level is Level.MANDATORY for finding in findings)


def as_text(findings: Sequence[Finding], context: RuleContext, known: int = 0) -> str:
    """For people: what was read, the worst findings, then all by rule; then what was not judged."""
    lines = [*_header(context), *_totals(findings, context, known)]
    if len(findings) > _FIRST:
        lines += ["", f"The first {_FIRST}:"]
        lines += [f"  {finding.rule.id}  {_where(finding)}  {_short(finding.message)}" for finding in findings[:_FIRST]]
    for (level, rule), group in groupby(findings, key=lambda finding: (finding.level, finding.rule)):
        listed = list(group)
        lines += ["", f"{level}: {rule.id} ({rule.severity}), {len(listed)}: {rule.title}"]
        lines.append(f"    RFC-SECOPS-0001 {rule.rfc}. {rule.fix}")
        for finding in listed:
            lines.append(f"  {_where(finding)}")
            lines.append(f"    {finding.message}")
    told = [f"not in this tree: {what}" for what in context.elsewhere]
    told += [f"not judged: {what}" for what in unjudged(context)]
    if told:
        lines += ["", *told]
    return "\n".join(lines)


def _totals(findings: Sequence[Finding], context: RuleContext, known: int) -> list[str]:
    levels = Counter(finding.level.value for finding in findings)
    told = ", ".join(f"{levels[level.value]} {level.value}" for level in (Level.MANDATORY, Level.ADVISORY))
    rules = sum(counts(rule, context) for rule in RULES)
    by_rule = Counter(finding.rule.id for finding in findings)
    listed = ", ".join(f"{rule} {count}" for rule, count in by_rule.most_common())
    said = f" ({listed})" if listed else ""
    old = f"; {known} known from the baseline" if known else ""
    profile = context.profile.value
    return [f"{len(context.index.resources)} objects, {rules} rules (profile {profile}): {told}{said}{old}"]


def _header(context: RuleContext) -> list[str]:
    coverage = context.coverage
    if coverage is None:
        return []
    lines = [_coverage_line(coverage, minimum_of(context))]
    for cluster in coverage.clusters:
        starts = [entry for entry in coverage.entries if entry.cluster == cluster]
        shown = "; ".join(f"{entry.start}: {entry.why}" for entry in starts[:3])
        lines.append(
            f"  cluster {cluster} starts at {shown}" + (f"; and {len(starts) - 3} more" if len(starts) > 3 else "")
        )
    for title, listed in (
        ("not read", [f"{file} {why}" for file, why in coverage.unread.items()]),
        ("read as if applied by hand", list(coverage.by_hand)),
        ("not expanded", list(coverage.unexpanded)),
        ("remote, not fetched", list(coverage.remote)),
        ("left out", [f"{file}: {why}" for file, why in coverage.left_out.items()]),
        ("excluded", list(coverage.excluded)),
        ("ignored by Git, so not in the repository", list(coverage.ignored)),
    ):
        if listed:
            more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
            lines.append(f"  {title} ({len(listed)}):{more and ' the first are'}")
            lines += [f"    {each}" for each in listed[:_LISTED]]
    return lines


def _coverage_line(coverage: Coverage, minimum: float) -> str:
    clusters = len(coverage.clusters)
    return (
        f"{clusters} cluster{'' if clusters == 1 else 's'}, {len(coverage.read)} of {coverage.total} files about "
        f"secrets read ({coverage.percent:g} %, at least {minimum:g} % is asked for)"
    )


def _where(finding: Finding) -> str:
    return str(finding.where) or "(no file)"


def _short(message: str) -> str:
    return message if len(message) <= 140 else f"{message[:137]}..."


def coverage_document(context: RuleContext) -> dict[str, Any] | None:
    """The coverage for programs; None where nothing was a tree."""
    coverage = context.coverage
    if coverage is None:
        return None
    return {
        "clusters": [
            {
                "name": cluster,
                "entries": [{"start": e.start, "why": e.why} for e in coverage.entries if e.cluster == cluster],
            }
            for cluster in coverage.clusters
        ],
        "objects": len(context.index.resources),
        "read": len(coverage.read),
        "total": coverage.total,
        "percent": coverage.percent,
        "minimum": minimum_of(context),
        "notRead": [{"file": file, "why": why} for file, why in coverage.unread.items()],
        "notExpanded": list(coverage.unexpanded),
        "remote": list(coverage.remote),
        "readAsAppliedByHand": list(coverage.by_hand),
        "leftOut": [{"file": file, "why": why} for file, why in coverage.left_out.items()],
        "excluded": list(coverage.excluded),
        "ignoredByGit": list(coverage.ignored),
    }


def as_json(findings: Sequence[Finding], context: RuleContext, known: int = 0) -> str:
    """For programs; the order is that of the text."""
    document = {
        "profile": context.profile.value,
        "coverage": coverage_document(context),
        "objects": len(context.index.resources),
        "notInThisTree": list(context.elsewhere),
        "notJudged": unjudged(context),
        "violations": sum(finding.level is Level.MANDATORY for finding in findings),
        "knownFromBaseline": known,
        "totals": dict(Counter(finding.rule.id for finding in findings)),
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
                "fingerprint": fingerprint,
                "rfc": finding.rule.rfc,
                "fix": finding.rule.fix,
            }
            for finding, fingerprint in zip(findings, fingerprints(findings), strict=True)
        ],
    }
    return json.dumps(document, indent=2)


def as_sarif(findings: Sequence[Finding], context: RuleContext, version: str) -> str:
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
            "partialFingerprints": {"secretAuthority/v1": fingerprint},
        }
        for finding, fingerprint in zip(findings, fingerprints(findings), strict=True)
    ]
    unseen = [("not judged", what) for what in unjudged(context)] + [("not in this tree", w) for w in context.elsewhere]
    run: dict[str, Any] = {
        "tool": {"driver": driver},
        "results": results,
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": True,
                "toolExecutionNotifications": [
                    {"level": "note", "message": {"text": f"{kind}: {what}"}} for kind, what in unseen
                ],
            }
        ],
    }
    if (coverage := coverage_document(context)) is not None:
        run["properties"] = {"coverage": coverage, "profile": context.profile.value}
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=2)


def _level(level: Level) -> str:
    return "error" if level is Level.MANDATORY else "warning"


def _location(finding: Finding) -> dict[str, Any]:
    where = finding.where
    place: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(where.file or "."), "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": max(where.line, 1)},
        }
    }
    if where.urn:
        place["logicalLocations"] = [{"fullyQualifiedName": where.urn}]
    return place


def explain(coverage: Coverage, path: str) -> str:
    """How a file, or each file of a folder that is about secrets, is reached, or why it is not."""
    prefix = f"{path.rstrip('/')}/"
    known = {*coverage.reached, *coverage.unread, *coverage.left_out, *coverage.excluded, *coverage.ignored}
    files = sorted(file for file in known if file == path or file.startswith(prefix) or path in (".", ""))
    lines = []
    for file in files:
        if file in coverage.unread:
            lines.append(f"{file} was not read: it {coverage.unread[file]}")
        elif file in coverage.left_out:
            lines.append(f"{file} is left out: {coverage.left_out[file]}")
        elif file in coverage.excluded:
            lines.append(f"{file} is excluded")
        elif file in coverage.ignored:
            lines.append(f"{file} {NOT_IN_GIT}")
        else:
            by = ", ".join(coverage.reached[file]) or "it is a catalogue"
            lines.append(f"{file} is read: {by}")
    return "\n".join(lines) or f"{path} is not about secrets, or not in the tree, and nothing applies it"
