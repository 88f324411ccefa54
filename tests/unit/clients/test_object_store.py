"""The folder as a store: nothing is replaced, nothing is half written, a folder that is not mounted is no store."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from secret_authority.clients.object_store import ObjectExistsError, ObjectMissingError, StoreRefusedError
from secret_authority.clients.object_store import folder as folder_store
from secret_authority.clients.object_store.folder import MARKER, FolderStore
from secret_authority.core.errors import Unavailable


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    (tmp_path / MARKER).touch()
    return FolderStore(tmp_path)


def test_what_is_written_is_read_and_listed(store: FolderStore) -> None:
    store.put_new("dev/2026/a", b"one")
    store.put_new("dev/b", b"")
    store.put_new("prod/c", b"x")
    assert store.get("dev/2026/a") == b"one"
    assert [(one.key, one.size) for one in store.list("dev/")] == [("dev/2026/a", 3), ("dev/b", 0)]
    assert store.list("none/") == []


def test_nothing_is_replaced(store: FolderStore, tmp_path: Path) -> None:
    store.put_new("dev/a", b"one")
    with pytest.raises(ObjectExistsError):
        store.put_new("dev/a", b"two")
    assert store.get("dev/a") == b"one"
    assert [path.name for path in (tmp_path / "dev").iterdir()] == ["a"]


def test_of_many_writers_at_once_one_wins(store: FolderStore) -> None:
    def write(number: int) -> bytes | None:
        content = bytes([number]) * 100_000
        try:
            store.put_new("dev/a", content)
        except ObjectExistsError:
            return None
        return content

    with ThreadPoolExecutor(16) as pool:
        won = [content for content in pool.map(write, range(32)) if content is not None]
    assert len(won) == 1 and store.get("dev/a") == won[0]


def test_a_write_that_fails_leaves_no_object(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_store.os, "fsync", full)
    (tmp_path / "dev").mkdir()
    with pytest.raises(Unavailable, match="No space left"):
        store.put_new("dev/a", b"one")
    assert list((tmp_path / "dev").iterdir()) == []


def test_a_link_whose_answer_was_lost_is_a_success(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.link

    def link_twice(source: Path, target: Path) -> None:
        real(source, target)
        real(source, target)

    monkeypatch.setattr(folder_store.os, "link", link_twice)
    store.put_new("dev/a", b"one")
    assert store.get("dev/a") == b"one"


def test_a_folder_that_is_not_mounted_is_no_store(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for ask in (
        lambda: store.put_new("a", b""),
        lambda: store.get("a"),
        lambda: store.list("a/"),
        lambda: store.delete("a"),
    ):
        with pytest.raises(Unavailable, match="not mounted"):
            ask()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_object_is_said_and_deleting_it_is_no_error(store: FolderStore) -> None:
    with pytest.raises(ObjectMissingError):
        store.get("dev/a")
    store.put_new("dev/a", b"")
    for _ in range(2):
        store.delete("dev/a")
    assert store.list("dev/") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_what_the_permissions_forbid_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir(0o755)
    (folder / MARKER).touch()
    for above in (tmp_path, *tmp_path.parents):
        if above.stat().st_mode & 0o005 != 0o005:
            above.chmod(above.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        with pytest.raises(StoreRefusedError, match="writing dev/a failed"):
            FolderStore(folder).put_new("dev/a", b"")
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../a", "a/../b", "a//b", ".hidden", "a/", "a\n", "a/.partial-1"])
def test_a_key_that_means_another_place_is_refused(store: FolderStore, key: str) -> None:
    for ask in (lambda: store.put_new(key, b""), lambda: store.get(key), lambda: store.delete(key)):
        with pytest.raises(ValueError):
            ask()
    with pytest.raises(ValueError):
        store.list(f"{key}//")
