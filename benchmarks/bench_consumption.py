"""What delivery costs: `python -m benchmarks.bench_consumption --name NODE [--count 1000]`. Prints Markdown.

Needs a node whose stack is at phase 4. In a namespace of its own it makes `count` ExternalSecrets with a
controller, and compares two ways to bring a new version to its Secret in one run:

- External Secrets alone, with a refresh interval
- layer 5's engine, which looks at version numbers, over a refresh interval of ten minutes

CPU is that of the processes, in cores (1.0 is one core all the time), over windows of a minute; memory is resident. The
root holder's identity is used to make a token for the benchmark (break-glass); everything is taken away at the end.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import random
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.consumption.engine import consumer_rules, consumption_program, own_rules
from components.consumption.external_secrets import controller_pod, controller_rules
from secret_authority.clients.vault import Vault
from secret_authority.contract.names import (
    CONSUMPTION_ACCOUNT,
    READER_ACCOUNT,
    VERSION_ANNOTATION,
)
from secret_authority.contract.vault_policies import consumption_policy, reader_policy, versions_policy
from secret_authority.core.catalogue.schema import parse_catalogue
from tests.support.recorded_stack import RecordedStack
from tests.support.vault_way import broken_glass
from toolchain.node.api import ApiError

SPACE = "bench"
ESO = f"/apis/external-secrets.io/v1/namespaces/{SPACE}"
LOOK = "bench-look"
VERSIONS = f"{LOOK}-versions"
WINDOW_SECONDS = 60.0
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Latency:
    """Seconds from the answer of Vault to the Secret, and of these until the engine has asked for the version."""

    arrived: float
    noticed: float


class Bench:
    def __init__(self, stack: RecordedStack, vault: Vault, count: int) -> None:
        self.objects, self.vault, self.count, self.stack = stack.objects, vault, count, stack
        self.names = [f"s{number:04d}" for number in range(count)]

    def make(self, path: str, body: Mapping[str, Any]) -> None:
        try:
            self.objects.request("POST", path, body)
        except ApiError as error:
            if error.status != 409:
                raise

    def prepare(self, image: str) -> None:
        """Namespace, identities, values in Vault, a controller; no ExternalSecret yet."""
        self.make("/api/v1/namespaces", {"metadata": {"name": SPACE}})
        # Those of a stack with these secrets: the more rules a token has, the longer each of its requests takes.
        catalogue = parse_catalogue(self.catalogue, "catalogue.yaml")
        paths = [f"platform-config/data/{SPACE}/{name}" for name in self.names]
        for role, space, account, policy in (
            (f"consumer-{SPACE}", SPACE, READER_ACCOUNT, reader_policy(paths)),
            (LOOK, "secret-authority", LOOK, consumption_policy(catalogue, ())),
            (VERSIONS, "secret-authority", LOOK, versions_policy()),
        ):
            self.vault.write(f"sys/policies/acl/{role}", {"policy": policy})
            self.vault.write(
                f"auth/kubernetes/role/{role}",
                {
                    "bound_service_account_names": [account],
                    "bound_service_account_namespaces": [space],
                    "audience": "vault",
                    "token_policies": [role],
                    "token_no_default_policy": True,
                    "token_ttl": 900,
                },
            )
        for space, account in ((SPACE, READER_ACCOUNT), ("secret-authority", LOOK)):
            self.make(f"/api/v1/namespaces/{space}/serviceaccounts", {"metadata": {"name": account}})
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self.write, self.names))
        controller = f"external-secrets-{SPACE}"
        self.make("/api/v1/namespaces/external-secrets/serviceaccounts", {"metadata": {"name": controller}})
        self.grant(SPACE, controller, "external-secrets", controller_rules(self.names))
        self.deploy("external-secrets", controller, controller_pod(controller, SPACE))
        shop = self.objects.get("/apis/external-secrets.io/v1/namespaces/shop/secretstores/platform-config") or {}
        spec = shop["spec"]
        spec["provider"]["vault"]["auth"]["kubernetes"]["role"] = f"consumer-{SPACE}"
        body = {"apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": {"name": "bench"}}
        self.make(f"{ESO}/secretstores", {**body, "spec": spec})
        self.grant(SPACE, LOOK, "secret-authority", consumer_rules())
        self.make_task()
        self.image = image

    def grant(self, space: str, account: str, home: str, rules: list[dict[str, Any]]) -> None:
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{space}"
        self.make(f"{rbac}/roles", {"metadata": {"name": account}, "rules": rules})
        binding = {
            "metadata": {"name": account},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": home}],
        }
        self.make(f"{rbac}/rolebindings", binding)

    def deploy(self, space: str, name: str, pod: dict[str, Any], app: str = "") -> None:
        """`app`: the program whose way through the network policies it has."""
        labels = {SPACE: name}
        body = {
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": {**labels, "app": app or name}}, "spec": pod},
            },
        }
        self.make(f"/apis/apps/v1/namespaces/{space}/deployments", body)
        path = f"/apis/apps/v1/namespaces/{space}/deployments/{name}"
        until(lambda: bool(((self.objects.get(path) or {}).get("status") or {}).get("readyReplicas")), f"{name} runs")

    @property
    def catalogue(self) -> dict[str, Any]:
        entries = [
            {
                "name": name,
                "class": "config",
                "owner": "bench",
                "vault": {"datasource": SPACE, "instance": name},
                "consumers": [{"namespace": SPACE, "secret": name, "keys": {"value": "value"}}],
            }
            for name in self.names
        ]
        return {
            "apiVersion": "secret-authority.dev/v1",
            "kind": "SecretCatalogue",
            "bootstrapNamespaces": ["bootstrap-data"],
            "secrets": entries,
        }

    def make_task(self) -> None:
        task = json.dumps({"cluster": "bench", "catalogue": self.catalogue, "config": {}})
        place = "/api/v1/namespaces/secret-authority/configmaps"
        self.make(place, {"metadata": {"name": LOOK}, "data": {"task.json": task}})

    def start_engine(self) -> None:
        """Layer 5's engine over the benchmark's secrets, with a lease and a status of its own namespace."""
        self.grant(SPACE, f"{LOOK}-own", "secret-authority", own_rules())
        binding = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{SPACE}/rolebindings/{LOOK}-own"
        subjects = [{"kind": "ServiceAccount", "name": LOOK, "namespace": "secret-authority"}]
        self.objects.request("PATCH", binding, {"subjects": subjects})
        pod = consumption_program(self.image, "").pod(LOOK)
        pod["serviceAccountName"] = LOOK
        arguments = pod["containers"][0]["args"]
        own = {"--namespace": SPACE, "--role": LOOK, "--versions-role": VERSIONS}
        pod["containers"][0]["args"] = [
            f"{option}={own[option]}" if (option := argument.partition("=")[0]) in own else argument
            for argument in arguments
        ]
        self.deploy("secret-authority", LOOK, pod, CONSUMPTION_ACCOUNT)

    def write(self, name: str) -> str:
        value = secrets.token_hex(16)
        self.vault.write(f"platform-config/data/{SPACE}/{name}", {"data": {"value": value}})
        return value

    def external_secrets(self, interval: str) -> float:
        """Make them all; seconds until all are Ready."""
        begun = time.monotonic()
        for name in self.names:
            body = {
                "apiVersion": "external-secrets.io/v1",
                "kind": "ExternalSecret",
                "metadata": {"name": name},
                "spec": {
                    "refreshInterval": interval,
                    "secretStoreRef": {"kind": "SecretStore", "name": "bench"},
                    "target": {"name": name, "creationPolicy": "Owner", "deletionPolicy": "Retain"},
                    "data": [{"secretKey": "value", "remoteRef": {"key": f"{SPACE}/{name}", "property": "value"}}],
                },
            }
            self.make(f"{ESO}/externalsecrets", body)
        until(lambda: self.ready() == self.count, "all are Ready", 600)
        return time.monotonic() - begun

    def ready(self) -> int:
        listed = (self.objects.get(f"{ESO}/externalsecrets") or {})["items"]
        return sum(
            1
            for item in listed
            for condition in (item.get("status") or {}).get("conditions") or []
            if condition["type"] == "Ready" and condition["status"] == "True"
        )

    def set_interval(self, interval: str) -> None:
        for name in self.names:
            self.objects.request("PATCH", f"{ESO}/externalsecrets/{name}", {"spec": {"refreshInterval": interval}})

    def value(self, name: str) -> str:
        found = self.objects.secret(SPACE, name) or {}
        return base64.b64decode((found.get("data") or {}).get("value", "")).decode()

    def latencies(self, samples: int, timeout: float) -> list[Latency]:
        """From the answer of Vault to the Secret, one value after another."""
        found: list[Latency] = []
        for name in random.sample(self.names, samples):
            before, value, noticed = self.mark(name), self.write(name), list[float]()
            begun = time.monotonic()

            def arrived(
                name: str = name, before: str = before, value: str = value, noticed: list[float] = noticed
            ) -> bool:
                now = time.monotonic()
                if not noticed and self.mark(name) != before:
                    noticed.append(now)
                return self.value(name) == value

            until(arrived, "the value arrives", timeout, 0.05)
            end = time.monotonic()
            found.append(Latency(end - begun, (noticed or [end])[0] - begun))
        return found

    def mark(self, name: str) -> str:
        """The version that the engine has asked for."""
        found = self.objects.get(f"{ESO}/externalsecrets/{name}") or {}
        return str((found["metadata"].get("annotations") or {}).get(VERSION_ANNOTATION, ""))

    def delivered(self) -> bool:
        """Whether the engine says that every Secret is current."""
        found = self.objects.get(f"/api/v1/namespaces/{SPACE}/configmaps/consumption-status") or {}
        conditions = json.loads((found.get("data") or {}).get("conditions", "{}"))
        return bool((conditions.get("Delivered") or {}).get("status"))

    def burst(self, size: int) -> float:
        """Seconds until `size` values that change at once are all in their Secrets."""
        chosen = self.names[:size]
        with ThreadPoolExecutor(8) as pool:
            wanted = dict(zip(chosen, pool.map(self.write, chosen), strict=True))
        begun = time.monotonic()
        until(lambda: all(self.value(name) == value for name, value in wanted.items()), "all arrive", 300)
        return time.monotonic() - begun

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far of each program of the node, and of the benchmark's two pods."""
        spent: dict[str, float] = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                command = (entry / "cmdline").read_bytes().split(b"\0")
                name = self.program(int(entry.name), [part.decode() for part in command])
                if name:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    spent[name] = spent.get(name, 0.0) + (int(fields[11]) + int(fields[12])) / TICK
        return spent

    def memory(self) -> float:
        """Resident memory of the engine, in MiB."""
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                command = [part.decode() for part in (entry / "cmdline").read_bytes().split(b"\0")]
                if self.program(int(entry.name), command) == "engine":
                    lines = (entry / "status").read_text().splitlines()
                    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))
        return 0.0

    def program(self, pid: int, command: list[str]) -> str | None:
        joined = " ".join(command)
        if f"--namespace={SPACE}" in command:
            return "External Secrets" if "external-secrets" in command[0] else "engine"
        if self.stack.name not in Path(f"/proc/{pid}/cgroup").read_text():
            return None
        for name, mark in (("Vault", "vault server"), ("API server", "kube-apiserver"), ("etcd", "etcd ")):
            if mark in joined:
                return name
        return None

    def window(self) -> dict[str, float]:
        before, begun = self.cpu(), time.monotonic()
        time.sleep(WINDOW_SECONDS)  # the measurement is over time itself
        after, seconds = self.cpu(), time.monotonic() - begun
        return {name: (after[name] - before.get(name, 0.0)) / seconds for name in after}

    def clear(self) -> None:
        for path in (
            f"/apis/apps/v1/namespaces/secret-authority/deployments/{LOOK}",
            f"/api/v1/namespaces/secret-authority/configmaps/{LOOK}",
            f"/api/v1/namespaces/secret-authority/serviceaccounts/{LOOK}",
        ):
            with contextlib.suppress(ApiError):
                self.objects.request("DELETE", path)
        with contextlib.suppress(ApiError):
            self.objects.request("DELETE", f"{ESO}/externalsecrets")
            until(lambda: not (self.objects.get(f"{ESO}/externalsecrets") or {})["items"], "all are gone", 300)
        for path in (
            f"/apis/apps/v1/namespaces/external-secrets/deployments/external-secrets-{SPACE}",
            f"/api/v1/namespaces/external-secrets/serviceaccounts/external-secrets-{SPACE}",
            f"/api/v1/namespaces/{SPACE}",
        ):
            with contextlib.suppress(ApiError):
                self.objects.request("DELETE", path)
        for name in (f"consumer-{SPACE}", LOOK, VERSIONS):
            self.vault.delete(f"auth/kubernetes/role/{name}")
            self.vault.delete(f"sys/policies/acl/{name}")
        for name in self.names:
            self.vault.delete(f"platform-config/metadata/{SPACE}/{name}")


def until(condition: Callable[[], bool], what: str, timeout: float = 120, every: float = 0.5) -> None:
    """A busy API server may not answer one of the looks."""
    deadline = time.monotonic() + timeout
    while not _holds(condition):
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(every)


def _holds(condition: Callable[[], bool]) -> bool:
    with contextlib.suppress(OSError):
        return condition()
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description="What delivery of new versions costs.")
    parser.add_argument("--name", default="dev", help="the node, its stack at phase 4")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--intervals", nargs="*", default=["1m0s", "10s"], help="refresh intervals to compare with")
    parser.add_argument("--engine-only", action="store_true", help="not External Secrets without it")
    options = parser.parse_args()
    stack = RecordedStack(options.name)
    deployed = stack.objects.get("/apis/apps/v1/namespaces/secret-authority/deployments/secret-authority-consumption")
    image = (deployed or {})["spec"]["template"]["spec"]["containers"][0]["image"]
    root = stack.root_identity.read_text()
    with tempfile.TemporaryDirectory() as folder, broken_glass(stack.kubeconfig, Path(folder), root) as vault:
        bench = Bench(stack, vault, options.count)
        try:
            bench.prepare(image)
            made = bench.external_secrets("1h0m0s")
            print(f"{options.count} ExternalSecrets made and Ready in {made:.0f} s\n")
            print("| way | External Secrets | Vault | API server | etcd | engine | latency median, worst |")
            print("|---|---|---|---|---|---|---|", flush=True)
            if not options.engine_only:
                row("idle, refresh 1 h", bench.window(), [])
            for interval in [] if options.engine_only else options.intervals:
                bench.set_interval(interval)
                bench.latencies(1, 300)  # the changes of the interval itself are behind it
                window = bench.window()
                row(f"refresh {interval}", window, bench.latencies(5, 180))
            bench.set_interval("10m0s")
            bench.start_engine()
            until(bench.delivered, "the engine has asked for everything once", 600)
            window = bench.window()
            row("engine, refresh 10 min", window, [])
            found = bench.latencies(20, 120)
            row("engine, refresh 10 min", window, found)
            print(f"\nUntil the engine has asked for it: {times([one.noticed for one in found])}.")
            print(
                f"\nThe engine has {bench.memory():.0f} MiB; load {' '.join(f'{one:.0f}' for one in os.getloadavg())}."
            )
            print(f"\n100 values changed at once arrive within {bench.burst(100):.1f} s (engine).")
        finally:
            bench.clear()
    return 0


def row(way: str, cores: Mapping[str, float], latencies: list[Latency]) -> None:
    shown = [f"{cores.get(name, 0.0):.3f}" for name in ("External Secrets", "Vault", "API server", "etcd", "engine")]
    print(f"| {way} | {' | '.join(shown)} | {times([one.arrived for one in latencies])} |", flush=True)


def times(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.1f} s, {max(seconds):.1f} s" if seconds else "–"


if __name__ == "__main__":
    raise SystemExit(main())
