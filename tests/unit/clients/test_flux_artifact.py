"""What is unpacked of an artifact: the wanted files alone, whole or not at all, never more than fits in memory."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from secret_authority.clients import flux_artifact
from secret_authority.clients.flux_artifact import Artifact, ArtifactError, fetch

WANTED = ["clusters/dev/catalogue.yaml", "clusters/dev/bootstrap"]


class Zeros(io.RawIOBase):
    """So many zero bytes, none of them in memory."""

    def __init__(self, size: int) -> None:
        self.left = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        size = min(self.left, size if size >= 0 else self.left)
        self.left -= size
        return b"\0" * size


def packed(*entries: tuple[str, bytes | int | str]) -> bytes:
    """A tar.gz of files: bytes are the content, a number is so many zero bytes, a text is where a link leads."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = content if isinstance(content, int) else len(content)
                tar.addfile(info, Zeros(content) if isinstance(content, int) else io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def served() -> Iterator[Callable[[bytes], Artifact]]:
    """Serves bytes as the artifact of a revision, with their right digest."""
    held: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = held[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def serve(content: bytes) -> Artifact:
            path = f"/{len(held)}.tar.gz"
            held[path] = content
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            return Artifact("main@sha1:1", f"http://127.0.0.1:{server.server_port}{path}", digest)

        yield serve
        server.shutdown()
        thread.join()


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_wanted_files_are_unpacked_and_no_other(served: Callable[[bytes], Artifact], tmp_path: Path) -> None:
    content = packed(
        ("clusters/dev/catalogue.yaml", b"a"),
        ("clusters/dev/catalogue.yaml.orig", b"no"),
        ("clusters/dev/bootstrap/deep/b.yaml", b"b"),
        ("clusters/dev/bootstrap-of-mine/c.yaml", b"no"),
        ("clusters/dev/bootstrap/link.yaml", "/etc/passwd"),
        ("clusters/dev/bootstrap/../../../out.yaml", b"no"),
        ("/clusters/dev/bootstrap/absolute.yaml", b"no"),
    )
    fetch(served(content), tmp_path, WANTED)
    assert files(tmp_path) == {"clusters/dev/catalogue.yaml", "clusters/dev/bootstrap/deep/b.yaml"}


def test_a_large_file_elsewhere_costs_no_memory(served: Callable[[bytes], Artifact], tmp_path: Path) -> None:
    artifact = served(packed(("apps/big.bin", 120 << 20), ("clusters/dev/catalogue.yaml", b"a")))
    tracemalloc.start()
    fetch(artifact, tmp_path, WANTED)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20 and files(tmp_path) == {"clusters/dev/catalogue.yaml"}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([("clusters/dev/bootstrap/a.yaml", flux_artifact.MOST_FILE_BYTES + 1)], "a.yaml has 4194305 bytes; at most"),
        ([(f"clusters/dev/bootstrap/{n}.yaml", 4 << 20) for n in range(9)], "have more than 33554432 bytes"),
        ([(f"clusters/dev/bootstrap/{n}.yaml", b"") for n in range(10_001)], "there are more than 10000 files"),
    ],
    ids=["file", "sum", "number"],
)
def test_more_than_fits_is_one_error_and_leaves_nothing(
    served: Callable[[bytes], Artifact], tmp_path: Path, entries: list[tuple[str, int | bytes]], words: str
) -> None:
    with pytest.raises(ArtifactError, match=words):
        fetch(served(packed(*entries)), tmp_path, WANTED)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", ["MOST_ARCHIVE_BYTES", "MOST_SECONDS"])
def test_an_archive_without_end_is_one_error(
    served: Callable[[bytes], Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(flux_artifact, limit, 1 << 20 if limit == "MOST_ARCHIVE_BYTES" else 0.0)
    with pytest.raises(ArtifactError, match="the repository"):
        fetch(served(packed(("apps/big.bin", 8 << 20))), tmp_path, WANTED)


@pytest.mark.parametrize(
    "content",
    [b"not a tarball", b"", packed(("clusters/dev/catalogue.yaml", 1 << 20))[:-200]],
    ids=["text", "empty", "cut"],
)
def test_what_is_no_archive_is_one_error(served: Callable[[bytes], Artifact], tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ArtifactError, match="is not a compressed tar archive"):
        fetch(served(content), tmp_path, WANTED)
    assert list(tmp_path.iterdir()) == []


def test_another_content_than_the_digest_says_leaves_nothing(
    served: Callable[[bytes], Artifact], tmp_path: Path
) -> None:
    artifact = served(packed(("clusters/dev/catalogue.yaml", b"a")))
    other = Artifact(artifact.revision, artifact.url, f"sha256:{'0' * 64}")
    with pytest.raises(ArtifactError, match="does not have the digest"):
        fetch(other, tmp_path, WANTED)
    assert list(tmp_path.iterdir()) == []


def test_nobody_there_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="ConnectionError"):
        fetch(Artifact("r", "http://127.0.0.1:1/x", "sha256:0"), tmp_path, WANTED)
