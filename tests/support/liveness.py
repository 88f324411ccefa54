"""What the kubelet does with the Vault pods: one whose liveness probe fails for too long is started again."""

from __future__ import annotations

import http.client
import ssl
import threading
from dataclasses import dataclass, field

from components.runtime_authority.vault_pod import stateful_set_spec
from components.settings.vault import VaultSettings
from tests.support.background import Background
from tests.support.vault_process import Server


@dataclass(frozen=True)
class Probe:
    """One of the program's own pod. `period` and `timeout` in seconds, `failures`: how many in a row count."""

    path: str
    period: float
    timeout: float
    failures: int

    def succeeds(self, server: Server) -> bool:
        """As the kubelet counts: a status from 200 to 399."""
        context = ssl.create_default_context(cafile=server.ca_file)
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=self.timeout, context=context)
        try:
            connection.request("GET", self.path)
            return 200 <= connection.getresponse().status < 400
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _probe(name: str) -> Probe:
    containers = stateful_set_spec(VaultSettings(), "engine")["template"]["spec"]["containers"]
    found = next(one for one in containers if one["name"] == "vault")[name]
    return Probe(found["httpGet"]["path"], found["periodSeconds"], found["timeoutSeconds"], found["failureThreshold"])


READINESS, LIVENESS = _probe("readinessProbe"), _probe("livenessProbe")


@dataclass
class Kubelet(Background):
    """Watches servers until it is ended; not while `faults` is held, which end and start servers themselves."""

    servers: list[Server]
    restarts: list[str] = field(default_factory=list)
    faults: threading.Lock = field(default_factory=threading.Lock)

    def _run(self) -> None:
        failures = dict.fromkeys((server.name for server in self.servers), 0)
        while not self._stop.wait(LIVENESS.period):
            for server in self.servers:
                failures[server.name] = 0 if LIVENESS.succeeds(server) else failures[server.name] + 1
                if failures[server.name] < LIVENESS.failures:
                    continue
                with self.faults:
                    server.kill()
                    server.start()
                self.restarts.append(server.name)
                failures[server.name] = 0
