"""Publishing a folder onto a branch of a bare repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from toolchain.gitserver import publish, server
from toolchain.node import layout
from toolchain.node.errors import NodeError


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> layout.Node:
    monkeypatch.setattr(layout, "STATE_ROOT", tmp_path / "nodes")
    return layout.Node("unit", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "apps").mkdir(parents=True)
    (source / "apps/secret.yaml").write_text("kind: Secret\n")
    (source / ".sops.yaml").write_text("creation_rules: []\n")
    (source / ".gitignore").write_text("*.yaml\n")
    return source


def git(node: layout.Node, *arguments: str) -> str:
    bare = server.repositories(node) / "fleet.git"
    return subprocess.run(["git", *arguments], cwd=bare, capture_output=True, text=True, check=True).stdout


def test_every_file_is_published(node: layout.Node, folder: Path) -> None:
    commit = publish.publish(node, "fleet", folder)
    assert git(node, "rev-parse", "refs/heads/main").strip() == commit
    files = git(node, "ls-tree", "-r", "--name-only", commit).split()
    assert files == [".gitignore", ".sops.yaml", "apps/secret.yaml"], "an ignored file is content too"
    assert git(node, "symbolic-ref", "HEAD").strip() == "refs/heads/main"


def test_the_same_content_makes_no_commit(node: layout.Node, folder: Path) -> None:
    first = publish.publish(node, "fleet", folder)
    (folder / ".sops.yaml").touch()
    assert publish.publish(node, "fleet", folder) == first
    assert git(node, "rev-list", "--count", "main").strip() == "1"


def test_the_same_history_gives_the_same_commits(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for place in ("a", "b"):
        monkeypatch.setattr(layout, "STATE_ROOT", tmp_path / place)
        monkeypatch.setenv("GIT_AUTHOR_NAME", place)
        (folder / "apps/secret.yaml").write_text("kind: Secret\n")
        commits = [publish.publish(layout.Node("unit", 0), "fleet", folder)]
        (folder / "apps/secret.yaml").write_text("kind: Secret\ndata: {}\n")
        commits.append(publish.publish(layout.Node("unit", 0), "fleet", folder))
        seen.append(commits)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 2


def test_a_removed_file_disappears(node: layout.Node, folder: Path) -> None:
    first = publish.publish(node, "fleet", folder)
    (folder / "apps/secret.yaml").unlink()
    second = publish.publish(node, "fleet", folder)
    assert "apps/secret.yaml" not in git(node, "ls-tree", "-r", "--name-only", second)
    assert git(node, "rev-parse", f"{second}^").strip() == first


@pytest.mark.parametrize("name", ["", "../x", "A", "a/b", ".git"])
def test_bad_repository_names(node: layout.Node, folder: Path, name: str) -> None:
    with pytest.raises(NodeError, match="repository"):
        publish.publish(node, name, folder)


def test_a_missing_folder_is_named(node: layout.Node, tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="absent is not a folder"):
        publish.publish(node, "fleet", tmp_path / "absent")


def test_the_server_serves_reads_over_tls_only(node: layout.Node) -> None:
    text = server.configuration(node)
    assert 'ssl.engine = "enable"' in text
    assert f'server.bind = "{node.host_address}"' in text
    assert "receive-pack" not in text
