"""Namespaces that Git may not declare are named before anything is applied."""

from __future__ import annotations

from pathlib import Path

import pytest

from secret_authority.repository.namespaces import check_namespaces


def problems(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "namespaces").mkdir()
    (tmp_path / "namespaces/all.yaml").write_text(text)
    return [str(problem) for problem in check_namespaces(tmp_path, "namespaces")]


@pytest.mark.parametrize("name", ["vault", "flux-system", "secret-authority", "external-secrets", "kube-system"])
@pytest.mark.parametrize(
    "shape",
    [
        "{{kind: Namespace, metadata: {{name: {name}}}}}",
        "kind: List\nitems: [{{kind: Namespace, metadata: {{name: {name}}}}}]",
    ],
)
def test_a_namespace_of_the_platform(tmp_path: Path, name: str, shape: str) -> None:
    (problem,) = problems(tmp_path, shape.format(name=name))
    assert problem.startswith(f"namespaces/all.yaml: metadata.name: namespace {name} belongs to the platform")
    assert "Fix: remove it" in problem


def test_a_privileged_namespace(tmp_path: Path) -> None:
    text = "kind: Namespace\nmetadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: privileged}}"
    (problem,) = problems(tmp_path, text)
    assert "namespace shop sets pod-security.kubernetes.io/enforce to privileged" in problem


def test_what_teams_declare_passes(tmp_path: Path) -> None:
    text = """
kind: Namespace
metadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
kind: Namespace
metadata: {name: vault-ui}
---
{kind: Kustomization, resources: [x]}
---
plain text
"""
    assert problems(tmp_path, text) == []
    assert check_namespaces(tmp_path, "nothing-here") == []
