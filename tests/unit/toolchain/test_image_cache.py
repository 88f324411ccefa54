"""A new node takes its images from the cache of the machine, whole or not at all."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from toolchain.node import image_cache, layout
from toolchain.node import image_store as store
from toolchain.node.layout import Node
from toolchain.node.progress import Progress

BLOB, DATABASE = "io.containerd.content.v1.content/blobs/sha256/abc", "io.containerd.metadata.v1.bolt/meta.db"
QUIET = Progress("test", quiet=True)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    for path in (BLOB, DATABASE):
        (folder / "root" / path).parent.mkdir(parents=True)
        (folder / "root" / path).write_text(path)
    (folder / "images.json").write_text(json.dumps({"example.org/thing:v1": "made from this"}))
    monkeypatch.setattr(image_cache, "unpacked", lambda: folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    return folder


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setattr(layout, "STATE_ROOT", tmp_path / "nodes")
    made = Node("one", 0)
    (made.var / "lib/containerd").mkdir(parents=True)
    return made


def below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_layers_are_shared_and_databases_are_not(source: Path, node: Node) -> None:
    image_cache.fill(node, QUIET)
    target = node.var / "lib/containerd"
    assert below(target) == {BLOB, DATABASE}
    assert (target / BLOB).samefile(source / "root" / BLOB)
    (target / DATABASE).write_text("changed by the node")
    assert (source / "root" / DATABASE).read_text() == DATABASE
    assert json.loads(store.marks_of(node).read_text()) == {"example.org/thing:v1": "made from this"}


def test_a_node_whose_containerd_has_run_keeps_what_it_has(source: Path, node: Node) -> None:
    target = node.var / "lib/containerd"
    (target / "its-own").touch()
    image_cache.fill(node, QUIET)
    assert below(target) == {"its-own"} and not store.marks_of(node).exists()


def test_an_interrupted_copy_is_begun_again(source: Path, node: Node) -> None:
    partial = node.var / "lib/containerd.partial"
    partial.mkdir()
    (partial / "half").touch()
    image_cache.fill(node, QUIET)
    assert below(node.var / "lib/containerd") == {BLOB, DATABASE} and not partial.exists()


def test_where_nothing_can_be_linked_images_are_imported(
    source: Path, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = subprocess.CompletedProcess((), 1, "", "")
    monkeypatch.setattr(image_cache.subprocess, "run", lambda *_, **__: failed)
    image_cache.fill(node, QUIET)
    assert below(node.var) == set() and not store.marks_of(node).exists()


def test_while_a_program_is_missing_there_is_no_cache(
    tmp_path: Path, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_AUTHORITY_BIN", str(tmp_path / "nothing"))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert image_cache.unpacked() is None
    image_cache.fill(node, QUIET)
    image_cache.prepare(QUIET)
    assert below(tmp_path) == set()
