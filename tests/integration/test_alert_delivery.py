"""An alert from the engine to whoever is on call: the real engine, Prometheus with the rules, and Alertmanager."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from secret_authority.contract.rotation_settings import RotationSettings
from secret_authority.engine.common.http import serve
from secret_authority.engine.common.status import Status
from secret_authority.engine.rotation.controller import WORKING, RotationController
from tests.support.http_server import Handler, served
from tests.support.postgres_process import installations, postgres_server
from tests.support.rotation_site import Cluster, Site, unsealed_vault
from tests.support.vault_process import free_ports, vault_program, wait_for
from toolchain.prometheus import alertmanager, program

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(vault_program() is None, reason="no vault program: run `make tools`"),
    pytest.mark.skipif(not installations(), reason="no PostgreSQL is installed"),
]
RULES = Path(__file__).parents[2] / "docs" / "rotation-alerts.yaml"


@contextlib.contextmanager
def running(command: Sequence[str | Path], log: Path) -> Iterator[None]:
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            yield
        finally:
            process.terminate()


@contextlib.contextmanager
def monitoring(folder: Path, engine: int, receiver: str) -> Iterator[None]:
    """Prometheus, which scrapes the engine's port with the rules of docs/, and Alertmanager, which tells `receiver`."""
    alerts, web = free_ports(2)
    route = {"receiver": "call", "group_wait": "0s", "group_interval": "1s", "group_by": ["..."]}
    call = {"name": "call", "webhook_configs": [{"url": receiver, "send_resolved": True}]}
    (folder / "alertmanager.yaml").write_text(yaml.safe_dump({"route": route, "receivers": [call]}))
    scraping = {"job_name": "engine", "static_configs": [{"targets": [f"127.0.0.1:{engine}"]}]}
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alerts}"]}]}]},
        "scrape_configs": [scraping],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings))
    manager = [
        *alertmanager(),
        f"--config.file={folder}/alertmanager.yaml",
        f"--storage.path={folder}/alerts",
        f"--web.listen-address=127.0.0.1:{alerts}",
        "--cluster.listen-address=",
    ]
    prometheus = [
        program("prometheus"),
        f"--config.file={folder}/prometheus.yaml",
        f"--storage.tsdb.path={folder}/series",
        f"--web.listen-address=127.0.0.1:{web}",
    ]
    with running(manager, folder / "alertmanager.log"), running(prometheus, folder / "prometheus.log"):
        yield


def test_a_login_that_somebody_has_changed_reaches_who_is_on_call_and_so_does_its_end(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []

    class OnCall(Handler):
        def do_POST(self) -> None:
            told.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"])
            self.answer(b"")

    def heard(status: str) -> bool:
        return any(one["status"] == status and one["labels"]["alertname"] == "CredentialDrift" for one in told)

    (tmp_path / "vault").mkdir()
    (port,), version = free_ports(1), max(installations())
    with (
        unsealed_vault(tmp_path / "vault") as (root, _),
        postgres_server(installations()[version]) as server,
        served(OnCall) as receiver,
    ):
        site, status = Site(root, server, ["orders_a", "orders_b"]), Status()

        def look(cluster: Cluster) -> None:
            """The first look of an engine tries every login."""
            RotationController(
                RotationSettings("dev", site.catalogue),
                cluster,
                site.engine_token,
                "ns",
                "run",
                status,
                drain=timedelta(),
                looks=site.looks_token,
            ).reconcile()

        def change(password: str) -> None:
            with contextlib.closing(server.superuser()) as admin:
                admin.run(f"ALTER ROLE orders_a PASSWORD '{password}'")

        with (
            Cluster(root) as cluster,
            contextlib.closing(_Endpoint(status, port)),
            monitoring(tmp_path, port, receiver),
        ):
            change("changed by hand")
            look(cluster)
            wait_for(lambda: heard("firing"), "somebody is called")
            password = site.value()["password"]
            change(password)
            look(cluster)
            wait_for(lambda: heard("resolved"), "the end is said")
    (fired,) = {json.dumps(one["labels"], sort_keys=True) for one in told if one["status"] == "firing"}
    assert json.loads(fired)["secret"] == "orders-db" and json.loads(fired)["severity"] == "critical"
    summary = next(one["annotations"]["summary"] for one in told)
    assert "orders-db" in summary and password not in json.dumps(told)


class _Endpoint:
    """What is scraped of the engine."""

    def __init__(self, status: Status, port: int) -> None:
        self._server = serve(status, port, WORKING, address="127.0.0.1")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
