"""Official releases: taken when the published checksum fits, refused when not, passed over when out of reach."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from toolchain.errors import ToolchainError
from toolchain.programs import release
from toolchain.programs.pins import Program, Release


class Server:
    """An HTTP server with files in memory; it remembers what it was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer(False)

            def do_GET(self) -> None:
                self._answer(True)

            def _answer(self, body: bool) -> None:
                outer.asked.append(f"{self.command} {self.path}")
                content = outer.files.get(self.path)
                self.send_response(404 if content is None else 200)
                self.end_headers()
                if body and content is not None:
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(release, "unreachable", set())
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.http.shutdown()
    made.http.server_close()
    thread.join()


def program(*releases: Release, names: tuple[str, ...] = ()) -> Program:
    return Program("tool", "1.2.3", "m", ".", {}, release=releases, names=names)


def archive(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        entry = tarfile.TarInfo("./tool-1.2.3/tool")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_member_of_a_tar_is_taken_when_the_checksum_list_names_it(server: Server, tmp_path: Path) -> None:
    content = archive(b"program")
    server.files = {
        "/v1.2.3/tool.tgz": content,
        "/v1.2.3/SUMS": f"{'0' * 64}  other.tgz\n{sha256(content)} *tool.tgz\n".encode(),
    }
    found = release.fetch(
        program(
            Release(server.url + "/v{version}/tool.tgz", server.url + "/v{version}/SUMS", ("tool-{version}/tool",))
        ),
        tmp_path,
    )
    assert found is not None
    assert (found / "tool").read_bytes() == b"program"
    assert (found / "tool").stat().st_mode & 0o111 == 0o111


def test_member_of_a_zip(server: Server, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("tool", b"zipped")
    server.files = {"/tool.zip": buffer.getvalue(), "/sum": sha256(buffer.getvalue()).encode()}
    found = release.fetch(program(Release(server.url + "/tool.zip", server.url + "/sum", ("tool",))), tmp_path)
    assert found is not None
    assert (found / "tool").read_bytes() == b"zipped"


def test_one_plain_download_for_each_name(server: Server, tmp_path: Path) -> None:
    for name in ("one", "two"):
        server.files |= {f"/{name}": name.encode(), f"/{name}.sha256": sha256(name.encode()).encode()}
    release_of_names = Release(server.url + "/{name}", server.url + "/{name}.sha256")
    found = release.fetch(program(release_of_names, names=("one", "two")), tmp_path)
    assert found is not None
    assert {file.name: file.read_bytes() for file in found.iterdir()} == {"one": b"one", "two": b"two"}


@pytest.mark.parametrize(
    ("sums", "reason"),
    [
        ("0" * 64, "checksum is [0-9a-f]{64}, the release says 0{64}"),
        (f"{'0' * 64}  a\n{'1' * 64}  b\n", "does not name"),
    ],
)
def test_wrong_or_missing_checksum_is_refused(server: Server, tmp_path: Path, sums: str, reason: str) -> None:
    server.files = {"/tool": b"forged", "/sum": sums.encode()}
    with pytest.raises(ToolchainError, match=reason):
        release.fetch(program(Release(server.url + "/tool", server.url + "/sum")), tmp_path)
    assert list((tmp_path / "release").iterdir()) == []


def test_missing_member_names_the_table(server: Server, tmp_path: Path) -> None:
    content = archive(b"program")
    server.files = {"/tool.tgz": content, "/sum": sha256(content).encode()}
    with pytest.raises(ToolchainError, match=r"no file other; correct `members` in toolchain/pins\.toml"):
        release.fetch(program(Release(server.url + "/tool.tgz", server.url + "/sum", ("other",))), tmp_path)


def test_release_that_does_not_exist_is_passed_over(server: Server, tmp_path: Path) -> None:
    assert release.fetch(program(Release(server.url + "/gone", server.url + "/sum")), tmp_path) is None
    assert server.asked == ["HEAD /gone"]


def test_silent_host_is_asked_once(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def refuse(*question: object, **_: object) -> None:
        asked.append(question)
        raise ConnectionRefusedError

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    for attempt in ("one", "two"):
        (tmp_path / attempt).mkdir()
        assert release.fetch(program(Release(server.url + "/a", server.url + "/b")), tmp_path / attempt) is None
    assert len(asked) == 1
    assert server.asked == []


def test_closed_port_is_passed_over(server: Server, tmp_path: Path) -> None:
    """The real thing: nothing listens on port 9 of the loopback device."""
    assert release.fetch(program(Release("http://127.0.0.1:9/a", "http://127.0.0.1:9/b")), tmp_path) is None


def test_program_without_a_release(tmp_path: Path) -> None:
    assert release.fetch(program(), tmp_path) is None
