"""Official releases: taken when the pinned checksum fits, refused when not, passed over when out of reach."""

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
def server(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    monkeypatch.setattr(release, "unreachable", set())
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(release, "LOCK", tmp_path_factory.mktemp("lock") / "releases.lock")
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


def pinned_and_fetched(wanted: Program, work: Path) -> Path | None:
    """As with a lock file that was written while the release was whole."""
    release.lock_releases([wanted])
    return release.fetch(wanted, work)


def pin(url: str) -> None:
    release.LOCK.write_text(f"{'0' * 64}  {url}\n")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_member_of_a_tar_is_taken_when_the_checksum_list_names_it(server: Server, tmp_path: Path) -> None:
    content = archive(b"program")
    server.files = {
        "/v1.2.3/tool.tgz": content,
        "/v1.2.3/SUMS": f"{'0' * 64}  other.tgz\n{sha256(content)} *tool.tgz\n".encode(),
    }
    found = pinned_and_fetched(
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
    found = pinned_and_fetched(program(Release(server.url + "/tool.zip", server.url + "/sum", ("tool",))), tmp_path)
    assert found is not None
    assert (found / "tool").read_bytes() == b"zipped"


def test_one_plain_download_for_each_name(server: Server, tmp_path: Path) -> None:
    for name in ("one", "two"):
        server.files |= {f"/{name}": name.encode(), f"/{name}.sha256": sha256(name.encode()).encode()}
    release_of_names = Release(server.url + "/{name}", server.url + "/{name}.sha256")
    found = pinned_and_fetched(program(release_of_names, names=("one", "two")), tmp_path)
    assert found is not None
    assert {file.name: file.read_bytes() for file in found.iterdir()} == {"one": b"one", "two": b"two"}


TOOL = b"the tool"


@pytest.mark.parametrize(
    ("sums", "reason"),
    [
        (f"{'0' * 64}  a\n{'1' * 64}  b\n", "does not name"),
        ("not a hash", "does not name"),
        (f"{'0' * 64}  tool\n{'1' * 64}  tool\n", "does not name"),
    ],
)
def test_a_checksum_file_that_does_not_name_the_download_pins_nothing(server: Server, sums: str, reason: str) -> None:
    server.files = {"/tool": TOOL, "/sum": sums.encode()}
    with pytest.raises(ToolchainError, match=reason):
        release.lock_releases([program(Release(server.url + "/tool", server.url + "/sum"))])
    assert not release.LOCK.exists()


def test_a_download_whose_checksum_is_not_pinned_is_not_used(server: Server, tmp_path: Path) -> None:
    """Whoever can replace the release can replace its checksum file: what the publisher says now proves nothing."""
    server.files = {"/tool": TOOL, "/sum": sha256(TOOL).encode()}
    assert release.fetch(program(Release(server.url + "/tool", server.url + "/sum")), tmp_path) is None
    assert server.asked == []


def test_a_release_that_was_replaced_with_its_checksum_is_refused(server: Server, tmp_path: Path) -> None:
    server.files = {"/tool": TOOL, "/sum": sha256(TOOL).encode()}
    wanted = program(Release(server.url + "/tool", server.url + "/sum"))
    assert release.lock_releases([wanted]) == 1
    before = release.LOCK.read_bytes()
    server.files = {"/tool": b"forged", "/sum": sha256(b"forged").encode()}
    with pytest.raises(ToolchainError, match=r"checksum is [0-9a-f]{64}, releases\.lock says"):
        release.fetch(wanted, tmp_path)
    assert list((tmp_path / "release").iterdir()) == []
    with pytest.raises(ToolchainError, match="the release was replaced"):
        release.lock_releases([wanted])
    assert release.LOCK.read_bytes() == before


def test_every_architecture_is_pinned_from_any_machine(server: Server) -> None:
    for arch in ("amd64", "arm64"):
        server.files |= {f"/{arch}.sum": sha256(arch.encode()).encode()}
    assert release.lock_releases([program(Release(server.url + "/{arch}", server.url + "/{arch}.sum"))]) == 2
    assert release.read_lock() == {f"{server.url}/{arch}": sha256(arch.encode()) for arch in ("amd64", "arm64")}


def test_a_host_that_does_not_answer_pins_nothing(server: Server) -> None:
    with pytest.raises(ToolchainError, match=r"http://127\.0\.0\.1:9"):
        release.lock_releases([program(Release("http://127.0.0.1:9/a", "http://127.0.0.1:9/b"))])
    assert not release.LOCK.exists()


@pytest.mark.parametrize("line", ["x", f"{'0' * 64} one-blank", f"{'0' * 64}  a\n{'0' * 64}  a"])
def test_a_damaged_lock_is_refused(server: Server, line: str) -> None:
    release.LOCK.write_text(line + "\n")
    with pytest.raises(ToolchainError, match=r"releases\.lock:\d: is not a checksum and a URL"):
        release.read_lock()


def test_missing_member_names_the_table(server: Server, tmp_path: Path) -> None:
    content = archive(b"program")
    server.files = {"/tool.tgz": content, "/sum": sha256(content).encode()}
    with pytest.raises(ToolchainError, match=r"no file other; correct `members` in toolchain/pins\.toml"):
        pinned_and_fetched(program(Release(server.url + "/tool.tgz", server.url + "/sum", ("other",))), tmp_path)


def test_release_that_does_not_exist_is_passed_over(server: Server, tmp_path: Path) -> None:
    pin(server.url + "/gone")
    assert release.fetch(program(Release(server.url + "/gone", server.url + "/sum")), tmp_path) is None
    assert server.asked == ["HEAD /gone"]


def test_silent_host_is_asked_once(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def refuse(*question: object, **_: object) -> None:
        asked.append(question)
        raise ConnectionRefusedError

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    pin(server.url + "/a")
    for attempt in ("one", "two"):
        (tmp_path / attempt).mkdir()
        assert release.fetch(program(Release(server.url + "/a", server.url + "/b")), tmp_path / attempt) is None
    assert len(asked) == 1
    assert server.asked == []


def test_closed_port_is_passed_over(server: Server, tmp_path: Path) -> None:
    """The real thing: nothing listens on port 9 of the loopback device."""
    pin("http://127.0.0.1:9/a")
    assert release.fetch(program(Release("http://127.0.0.1:9/a", "http://127.0.0.1:9/b")), tmp_path) is None


def test_program_without_a_release(tmp_path: Path) -> None:
    assert release.fetch(program(), tmp_path) is None
