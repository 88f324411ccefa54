"""Git is read in a process of its own: the same answer, and no artifact fills, ends or delays the engine's process."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from secret_authority.clients.flux_artifact import MOST_FILE_BYTES, Artifact, ArtifactError
from secret_authority.contract.engine_settings import GitPlaces
from secret_authority.core.catalogue.schema import SecretClass
from secret_authority.core.errors import InvalidInputError
from secret_authority.core.handover.state_machine import Reason
from secret_authority.engine.handover import git_process
from secret_authority.engine.handover.git_process import read_in_process
from secret_authority.engine.handover.git_state import read_artifact
from tests.support.fleets import Fleet, new_fleet
from tests.support.waiting import until

KEY = b"k" * 32
PLACES = GitPlaces("flux-system", "fleet", "secret-authority/dev/catalogue.yaml", ("clusters/dev/bootstrap",))


class Source:
    """What source-controller serves: one artifact."""

    def __init__(self) -> None:
        self.content, self.silent = b"", False
        source = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if source.silent:
                    time.sleep(60)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(source.content)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def artifact(self, files: dict[str, bytes]) -> Artifact:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        self.content = gzip.compress(packed.getvalue(), 1)
        digest = f"sha256:{hashlib.sha256(self.content).hexdigest()}"
        return Artifact("main@sha1:1", f"http://127.0.0.1:{self.http.server_port}/a.tar.gz", digest)


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Source()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path)


def files(fleet: Fleet) -> dict[str, bytes]:
    found = [path for path in fleet.repository.rglob("*") if path.is_file() and ".git" not in path.parts]
    return {str(path.relative_to(fleet.repository)): path.read_bytes() for path in found}


def test_the_answer_is_the_same(fleet: Fleet, source: Source) -> None:
    fleet.edit("clusters/dev/bootstrap/orders-db.yaml", lambda doc: doc["metadata"].update(labels={"a": "b"}))
    artifact, identity = source.artifact(files(fleet)), f"# a comment\n{fleet.identity().secret}\n"
    state = read_in_process(artifact, PLACES, KEY, identity)
    assert state == read_artifact(artifact, PLACES, KEY, identity)
    assert state.value_of("orders-db").unknown is Reason.UNREADABLE
    names = {secret.name for secret in state.catalogue.of_class(SecretClass.BOOTSTRAP)}
    assert {name for name, value in state.values.items() if value.digest} == names - {"orders-db"}


def test_what_is_wrong_is_named(fleet: Fleet, source: Source) -> None:
    artifact = source.artifact({**files(fleet), PLACES.catalogue: b"kind: Other\n"})
    with pytest.raises(InvalidInputError, match=r"catalogue\.yaml: kind"):
        read_in_process(artifact, PLACES, KEY, fleet.identity().secret)
    with pytest.raises(ArtifactError, match="does not have the digest"):
        read_in_process(Artifact(artifact.revision, artifact.url, "sha256:0"), PLACES, KEY, "x")


def large() -> dict[str, bytes]:
    """As much YAML as an artifact may hold, in the form that takes the most memory."""
    document = b"kind: Secret\nmetadata: [" + b"[]," * ((MOST_FILE_BYTES - 100) // 3) + b"]\n"
    return {f"clusters/dev/bootstrap/{number}.yaml": document for number in range(7)}


def resident(pid: int) -> int:
    """Memory of a process in MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def test_an_artifact_that_fills_a_process_ends_the_one_that_reads_it(fleet: Fleet, source: Source) -> None:
    artifact, before = source.artifact({**files(fleet), **large()}), resident(os.getpid())
    beats: list[float] = []
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.02):
            beats.append(time.monotonic())

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(ArtifactError, match=r"cannot be read: .* ended without an answer .* may take 256 MiB"):
            read_in_process(artifact, PLACES, KEY, fleet.identity().secret)
    finally:
        ended.set()
        thread.join()
    assert resident(os.getpid()) - before < 64, "nothing of it is in this process"
    assert len(beats) > 10, "this process went on meanwhile"


def test_a_process_that_hangs_is_ended_with_what_it_started(
    fleet: Fleet, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_process, "MOST_SECONDS", 2.0)
    source.silent = True
    with pytest.raises(ArtifactError, match="ended without an answer"):
        read_in_process(source.artifact(files(fleet)), PLACES, KEY, fleet.identity().secret)


def test_an_answer_that_is_too_long_is_refused(fleet: Fleet, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_process, "MOST_ANSWER_BYTES", 1000)
    with pytest.raises(ArtifactError, match="holds more than the engine takes"):
        read_in_process(source.artifact(files(fleet)), PLACES, KEY, fleet.identity().secret)


def test_the_kernel_ends_it_before_the_engine() -> None:
    program = (
        "from secret_authority.engine.handover.git_process import limit_process\n"
        "limit_process()\nprint(open('/proc/self/oom_score_adj').read().strip(), flush=True)\nbytearray(300 << 20)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "1000" and "MemoryError" in done.stderr


def test_the_identity_is_in_no_argument_and_no_environment(
    fleet: Fleet, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []
    source.silent = True
    monkeypatch.setattr(git_process, "MOST_SECONDS", 5.0)
    secret = fleet.identity().secret.encode()
    artifact = source.artifact(files(fleet))

    def read() -> None:
        with pytest.raises(ArtifactError):
            read_in_process(artifact, PLACES, KEY, secret.decode())

    def children() -> list[Path]:
        found = Path(f"/proc/{os.getpid()}/task/{thread.native_id}/children").read_text().split()
        return [Path(f"/proc/{pid}") for pid in found]

    thread = threading.Thread(target=read)
    thread.start()
    until(lambda: bool(children()), "the process runs", 60)
    for process in children():
        seen += [(process / "cmdline").read_bytes(), (process / "environ").read_bytes()]
    thread.join()
    assert seen and not any(secret in text for text in seen)
