"""The example's database as its pod starts it, and the application that logs in to it, as real processes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import Connection

from examples.make_fleet import first_values
from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.rotation.rotator import Provisioner, Value
from secret_authority.engine.rotation.rotators import registry
from secret_authority.engine.rotation.rotators.postgresql import error_code
from tests.support.fleets import new_fleet
from tests.support.postgres_process import account, installations
from tests.support.waiting import until

CANNOT_CONNECT_NOW = "57P03"  # the server starts, or ends

CHECKOUT = Path(__file__).parents[2]
START = CHECKOUT / "components/demo/start_database.py"


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CatalogueSecret]:
    """The catalogue of the example."""
    return {secret.name: secret for secret in new_fleet(tmp_path_factory.mktemp("fleet")).read().catalogue}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Pod:
    """The start script, with folders of its own for what a pod has."""

    folder: Path
    admin: dict[str, bytes]
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        programs = installations()["18"]
        self.process = subprocess.Popen(
            # The account of the server may not reach the Python of the tests.
            [shutil.which("python3", path="/usr/bin") or sys.executable, "-B", str(self.folder / "start.py")],
            env={
                "PATH": f"{programs}:/usr/bin:/bin",
                "VOLUME": str(self.folder / "volume"),
                "SOCKETS": str(self.folder),
                "ADMIN": str(self.folder / "admin"),
                "PORT": str(self.port),
            },
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "log").open("ab"),
            **account(),  # type: ignore[call-overload]
        )
        until(self.answers, "the database answers", 120)

    def answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
        try:
            Connection("nobody", host="127.0.0.1", port=self.port, database="postgres", password="", timeout=5).close()
        except DatabaseError as error:
            return error_code(error) != CANNOT_CONNECT_NOW
        except (InterfaceError, OSError):
            return False
        return True

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)


@pytest.fixture(scope="module")
def pod(entries: dict[str, CatalogueSecret]) -> Iterator[Pod]:
    # Below /tmp itself: folders of pytest are closed to the account of the server, and a socket's path is short.
    port = free_port()
    folder = Path(f"/tmp/demo-{os.getpid()}-{port}")
    made = Pod(folder, first_values(entries["orders-db-admin"]), port)
    for name in ("volume", "admin"):
        (folder / name).mkdir(parents=True)
    for name in ("username", "verifier"):
        (folder / "admin" / name).write_bytes(made.admin[name])
    shutil.copyfile(START, folder / "start.py")
    if "user" in account():
        for path in (folder, folder / "volume"):
            shutil.chown(path, str(account()["user"]))
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def rotator_of(entry: CatalogueSecret, pod: Pod) -> Provisioner:
    assert entry.rotator is not None
    here = {"host": "127.0.0.1", "port": pod.port}
    moved = entry.model_copy(update={"rotator": entry.rotator.model_copy(update=here)})
    made = registry.build(moved, lambda _: {name: value.decode() for name, value in pod.admin.items()})
    assert isinstance(made, Provisioner)
    return made


def test_the_catalogue_of_the_example_is_enough_to_set_up_and_log_in(
    entries: dict[str, CatalogueSecret], pod: Pod, tmp_path: Path
) -> None:
    """From Git's first values alone: the server gets the verifier, the engine makes the users, the application logs in,
    loses its session with the server, and has one again."""
    value = {name: text.decode() for name, text in first_values(entries["orders-db"]).items()}
    assert value["username"] == "orders_a"
    login, endpoint = tmp_path / "orders-db", tmp_path / "endpoint"
    for folder, files in (
        (login, {"DB_USER": value["username"], "DB_PASSWORD": value["password"]}),
        (endpoint, {"DB_HOST": "127.0.0.1", "DB_PORT": str(pod.port)}),
    ):
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    health = free_port()
    command = [sys.executable, "-m", "secret_authority.engine", "database-session", "--database=orders"]
    application = subprocess.Popen(
        [*command, f"--port={health}", str(login), str(endpoint)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )

    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{health}/readyz", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    try:
        rotator = rotator_of(entries["orders-db"], pod)
        assert not ready(), "nobody has made its user yet"
        assert rotator.provision(Value(value)) == "users orders_a, orders_b"
        until(ready, "the application is logged in", 60)
        pod.stop()
        until(lambda: not ready(), "its session is lost", 60)
        pod.start()
        until(ready, "it is logged in again", 60)
        assert rotator.provision(Value(value)) == "", "the data are on the volume"
    finally:
        application.terminate()
        said = application.communicate(timeout=30)[0].decode()
    assert application.returncode == 0 and "as orders_a" in said, said
    assert value["password"] not in said


def test_nobody_comes_over_the_network_without_a_login_of_vault(pod: Pod) -> None:
    for user, password in (("postgres", ""), ("postgres", "postgres"), ("orders", "orders")):
        with pytest.raises((DatabaseError, InterfaceError)):
            Connection(user, host="127.0.0.1", port=pod.port, database="postgres", password=password, timeout=10)
    log = (pod.folder / "log").read_text()
    assert pod.admin["password"].decode() not in log and pod.admin["verifier"].decode() not in log


def test_a_killed_first_start_is_begun_again(pod: Pod) -> None:
    pod.stop()
    volume = pod.folder / "volume"
    (volume / "data").rename(volume / "data.partial")
    (volume / "data.partial" / "PG_VERSION").unlink()
    pod.start()
    assert not (volume / "data.partial").exists() and (volume / "data" / "PG_VERSION").exists()
