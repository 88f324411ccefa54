"""What one place of a file makes several times is one finding, and exceptions are still for single objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from policy.readers.git.tree import read_tree
from policy.rules.base import Finding
from policy.rules.registry import check, new_context
from policy.settings import Level, parse_settings
from secret_authority.contract.names import CLASS_LABEL
from tests.support.policy.trees import CORPUS, corpus, parse_repository

COMPONENT = parse_repository((CORPUS / "rfc-one-component-many-secrets.txt").read_text(), "component")
UNSEEN = parse_repository((CORPUS / "rfc-push-of-what-is-not-in-sight.txt").read_text(), "unseen")

MANY = next(each for each in corpus() if each.name == "rfc-secret-of-git-that-many-use")


def _findings(root: Path, rule: str, **settings: object) -> list[Finding]:
    given = parse_settings({"profile": "rfc", **settings}, "test")
    tree = read_tree(root, given)
    found = check(new_context(tree.resources, given, tree.problems, coverage=tree.coverage))
    return [finding for finding in found if finding.rule.id == rule]


def _excepted(subject: str) -> list[dict[str, str]]:
    reason = {"reason": "made again by hand", "expires": "2999-01-01"}
    return [{"rule": "secret-deletion-policy", "subject": subject, **reason}]


def test_a_finding_names_all_that_its_place_makes(tmp_path: Path) -> None:
    found = _findings(COMPONENT.write(tmp_path), "secret-deletion-policy")
    assert [finding.where.file for finding in found] == ["apps/blog/own.yaml", "components/s3/s3.yaml"]
    assert {"ExternalSecret blog/s3", "ExternalSecret shop/s3"} <= set(found[1].violation.names)


def test_an_exception_for_one_of_them_leaves_the_others(tmp_path: Path) -> None:
    found = _findings(
        COMPONENT.write(tmp_path), "secret-deletion-policy", exceptions=_excepted("ExternalSecret blog/s3")
    )
    assert [finding.message.partition(":")[0] for finding in found] == [
        "ExternalSecret blog/own",
        "ExternalSecret shop/s3",
    ]


def test_a_push_of_what_nothing_in_sight_makes_stops_nothing(tmp_path: Path) -> None:
    (found,) = _findings(UNSEEN.write(tmp_path), "push-overwrites")
    assert found.level is Level.ADVISORY
    (found,) = _findings(UNSEEN.write(tmp_path), "push-overwrites", levels={"push-overwrites": "mandatory"})
    assert found.level is Level.MANDATORY


_STORE = """---
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: vault}
spec: {provider: {vault: {server: "https://vault.example.org", auth: {kubernetes: {role: shop}}}}}
"""


@pytest.mark.parametrize(
    ("file", "old", "new", "level"),
    [
        ("apps/a.yaml", "", "", Level.ADVISORY),
        ("apps/a.yaml", "apiVersion: apps/v1", _STORE + "---\napiVersion: apps/v1", Level.MANDATORY),
        (
            "apps/db.sops.yaml",
            "name: db,",
            f"name: db, labels: {{{CLASS_LABEL}: bootstrap}},",
            Level.MANDATORY,
        ),
    ],
    ids=["no runtime authority", "a store", "a label"],
)
def test_where_there_is_nothing_else_to_read_a_secret_of_git_stops_nothing(
    tmp_path: Path, file: str, old: str, new: str, level: Level
) -> None:
    root = MANY.write(tmp_path)
    (root / file).write_text((root / file).read_text().replace(old, new, 1) if old else (root / file).read_text())
    found = [f for f in _findings(root, "bootstrap-secret-used") if f.where.file == "apps/a.yaml"]
    assert [finding.level for finding in found] == [level]
    assert "It is also used by Deployment shop/b" in found[0].message
