"""Replacements are worked out here as kustomize itself does it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from policy.readers.git.kustomize.renderer import Renderer
from tests.support.policy.trees import corpus, findings_of

TREE = {
    "cm.yaml": (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: names, namespace: shop}\ndata: {secret: db, host: a.b.c}\n"
    ),
    "es.yaml": (
        "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\n"
        "metadata: {name: one, namespace: shop, labels: {tier: data}}\n"
        "spec:\n  target: {name: x-placeholder}\n"
        "  data: [{secretKey: password, remoteRef: {key: pg/shop}}, {secretKey: user, remoteRef: {key: pg/shop}}]\n"
    ),
}
SOURCE = "source: {kind: ConfigMap, name: names, fieldPath: data.secret}"
HOST = "source: {kind: ConfigMap, name: names, fieldPath: data.host, options: {delimiter: '.', index: 1}}"


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (SOURCE, "select: {kind: ExternalSecret}, fieldPaths: [spec.target.name]"),
        (SOURCE, "select: {name: one}, fieldPaths: [spec.target.name], options: {delimiter: '-', index: 1}"),
        (SOURCE, "select: {name: one}, fieldPaths: [spec.target.name], options: {delimiter: '-', index: -1}"),
        (HOST, "select: {kind: ExternalSecret}, fieldPaths: [spec.target.name]"),
        (SOURCE, "select: {kind: ExternalSecret}, fieldPaths: ['spec.data.[secretKey=user].remoteRef.key']"),
        (SOURCE, "select: {kind: ExternalSecret}, fieldPaths: ['spec.data.*.remoteRef.key']"),
        (SOURCE, "select: {kind: ExternalSecret}, fieldPaths: [spec.data.1.remoteRef.key]"),
        (SOURCE, "select: {kind: ExternalSecret}, fieldPaths: ['spec.none.[]']"),
        (SOURCE, "select: {kind: ExternalSecret}, fieldPaths: [spec.target.new.name], options: {create: true}"),
        (SOURCE, "select: {kind: ExternalSecret, labelSelector: tier=web}, fieldPaths: [spec.target.name]"),
        (SOURCE, "select: {kind: ExternalSecret}, reject: [{name: one}], fieldPaths: [spec.target.name]"),
    ],
)
def test_as_kustomize_does_it(source: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl")
    for file, text in TREE.items():
        (tmp_path / file).write_text(text)
    text = f"resources: [cm.yaml, es.yaml]\nreplacements:\n- {source}\n  targets: [{{{target}}}]\n"
    (tmp_path / "kustomization.yaml").write_text(text)
    built = [d.content.get("spec") for d in Renderer(tmp_path).render(".").documents if "spec" in d.content]
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    here = [d.content.get("spec") for d in Renderer(tmp_path).render(".").documents if "spec" in d.content]
    assert len(here) == 1
    assert here == built


def test_without_kustomize_the_text_before_is_no_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    repository = next(r for r in corpus() if r.name == "field-replacements-meet")
    found = [m for rule, m in findings_of(repository.write(tmp_path), repository.settings) if "authorit" in rule]
    assert len(found) == 1
    assert "over Secret shop/db" in found[0]
