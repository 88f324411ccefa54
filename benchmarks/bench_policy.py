"""What the policy pack costs: `python -m benchmarks.bench_policy [--quick]`. Prints Markdown.

- rules over a Git tree and over a state, at 100, 1,000 and 10,000 secrets: CPU seconds, memory, and how far from linear
- a preview with the pack, an empty one, one that decodes nothing, and none, in turn (needs the pulumi program)

Each measurement runs in a process of its own; memory is the peak of that process in MiB. Every secret is one entry
of the catalogue, one encrypted manifest, one ExternalSecret and one workload that reads its result.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from policy.gc_pause import paused
from policy.readers.git.tree import read_tree
from policy.readers.state import read_state_file
from policy.rules.registry import check, new_context
from tests.support.policy.cases import deployment, external, store
from tests.support.policy.engine import PACK, TOOLS, Engine
from tests.support.policy.stacks import R, k8s, state_of
from tests.support.policy.trees import CIPHER, SOPS_BLOCK

SIZES = (100, 1_000, 10_000)
NAMESPACES = 50


def write_tree(root: Path, count: int) -> None:
    """A Flux repository with `count` secrets, one file an object."""
    cluster = root / "clusters" / "prod"
    (root / "bootstrap").mkdir(parents=True)
    cluster.mkdir(parents=True)
    flux = {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": "bootstrap", "namespace": "flux-system"},
        "spec": {
            "path": "./bootstrap",
            "decryption": {"provider": "sops"},
            "sourceRef": {"kind": "GitRepository", "name": "fleet"},
            "commonMetadata": {"labels": {"secret-authority.dev/class": "bootstrap"}},
        },
    }
    (cluster / "bootstrap.yaml").write_text(json.dumps(flux))
    (cluster / "store.yaml").write_text(json.dumps({**store("x").props, "kind": "ClusterSecretStore"}))
    entries = []
    for number in range(count):
        space = f"team-{number % NAMESPACES}"
        (root / "bootstrap" / f"s{number}.yaml").write_text(
            f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s{number}, namespace: platform}}\n"
            f"stringData:\n  password: {CIPHER}\n{SOPS_BLOCK}"
        )
        spec = {**external(f"{space}/s{number}", f"db/s{number}").props}
        spec["spec"]["secretStoreRef"]["kind"] = "ClusterSecretStore"
        (cluster / f"es{number}.json").write_text(json.dumps(spec))
        uses = {"envFrom": [{"secretRef": {"name": f"s{number}"}}]}
        (cluster / f"app{number}.json").write_text(json.dumps(deployment(f"{space}/app{number}", uses).props))
        entries.append(
            f"  - name: s{number}\n    class: bootstrap\n    owner: team\n"
            f"    bootstrap: {{namespace: platform, secret: s{number}, keys: [password]}}\n"
            f"    vault: {{datasource: db, consumer: s{number}}}\n"
            f"    consumers: [{{namespace: {space}, secret: s{number}, keys: {{password: password}}}}]\n"
            "    rotation: {type: static}\n"
        )
    head = "apiVersion: secret-authority.dev/v1\nkind: SecretCatalogue\nbootstrapNamespaces: [platform]\nsecrets:\n"
    (cluster / "catalogue.yaml").write_text(head + "".join(entries))


def stack(count: int) -> list[R]:
    """A stack with `count` ExternalSecrets and as many workloads."""
    found: list[R] = [k8s("external-secrets.io/v1", "ClusterSecretStore", "vault", spec=store("x").props["spec"])]
    for number in range(count):
        space = f"team-{number % NAMESPACES}"
        one = external(f"{space}/s{number}", f"db/s{number}")
        one.props["spec"]["secretStoreRef"]["kind"] = "ClusterSecretStore"
        uses = {"envFrom": [{"secretRef": {"name": f"s{number}"}}]}
        found += [one, deployment(f"{space}/app{number}", uses)]
    return found


def over_tree(root: Path) -> tuple[int, int]:
    tree = read_tree(root)
    return len(tree.resources), len(check(new_context(tree.resources, problems=tree.problems, coverage=tree.coverage)))


def over_state(file: Path) -> tuple[int, int]:
    resources = read_state_file(file, file.name)
    return len(resources), len(check(new_context(resources)))


def _child(job: Callable[[Path], tuple[int, int]], path: Path) -> tuple[float, float, int, int]:
    start = time.process_time()
    with paused():
        objects, findings = job(path)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return seconds, peak, objects, findings


def measure(job: Callable[[Path], tuple[int, int]], path: Path, runs: int) -> tuple[float, float, int, int]:
    """Median CPU seconds and peak MiB of a job in fresh processes, and what it saw."""
    results = []
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        for _ in range(runs):
            results.append(pool.submit(_child, job, path).result())
    seconds = statistics.median(result[0] for result in results)
    return seconds, max(result[1] for result in results), int(results[0][2]), int(results[0][3])


def scaling(runs: int) -> list[str]:
    lines = [
        "| over | secrets | objects | findings | CPU s | objects/s | peak MiB | CPU per object, against 100 secrets |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, job in (("Git tree", over_tree), ("state file", over_state)):
        first = 0.0
        for count in SIZES:
            with tempfile.TemporaryDirectory() as scratch:
                path = Path(scratch) / "x"
                if job is over_tree:
                    write_tree(path, count)
                else:
                    path.write_text(json.dumps(state_of(stack(count))))
                seconds, peak, objects, findings = measure(job, path, runs if count < 10_000 else 1)
            each = seconds / objects
            first = first or each
            lines.append(
                f"| {name} | {count:,} | {objects:,} | {findings} | {seconds:.2f} | {objects / seconds:,.0f} "
                f"| {peak:.0f} | {each / first:.2f} |"
            )
    return lines


EMPTY = """from pulumi_policy import EnforcementLevel, PolicyPack, StackValidationPolicy

nothing = StackValidationPolicy(name="nothing", description="nothing", validate=lambda args, report: None)
PolicyPack("empty", [nothing], enforcement_level=EnforcementLevel.ADVISORY)
"""


# Knows no message but its own name: what Pulumi's engine, gRPC and Python take before a pack does anything.
BARE = """import sys
import time
from concurrent import futures

import grpc
from pulumi.runtime.proto import analyzer_pb2, plugin_pb2

ANSWERS = {
    "GetAnalyzerInfo": analyzer_pb2.AnalyzerInfo(name="bare", version="0.0.1").SerializeToString(),
    "GetPluginInfo": plugin_pb2.PluginInfo(version="0.0.1").SerializeToString(),
}


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        answer = ANSWERS.get(details.method.rpartition("/")[2], b"")
        return grpc.unary_unary_rpc_method_handler(lambda request, context: answer)


sizes = [("grpc.max_receive_message_length", 400 << 20)]
server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[Handler()], options=sizes)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
while True:
    time.sleep(3600)
"""


def other_pack(into: Path, program: str) -> Path:
    """A pack to compare with."""
    into.mkdir()
    virtualenv = PACK.parent / ".venv"
    manifest = f"runtime: {{name: python, options: {{virtualenv: {virtualenv}}}}}\nversion: 0.1.0\n"
    (into / "PulumiPolicy.yaml").write_text(manifest)
    (into / "__main__.py").write_text(program)
    return into


def previews(sizes: tuple[int, ...], runs: int) -> list[str]:
    """Previews with the cluster away: without a pack, with one that decodes nothing, an empty one, this one, in turn.

    CPU seconds are those of all processes of the preview.
    """
    lines = ["| resources | pack | wall s | ratio | CPU s | ratio |", "|---|---|---|---|---|---|"]
    for count in sizes:
        resources = stack(count)
        with tempfile.TemporaryDirectory() as scratch:
            engine = Engine(Path(scratch))
            packs: dict[str, list[str]] = {"none": []}
            for name, program in (("bare", BARE), ("empty", EMPTY)):
                packs[name] = ["--policy-pack", str(other_pack(Path(scratch) / name, program))]
            packs["secret-authority"] = ["--policy-pack", str(PACK)]
            scenario = engine.scenario(resources)
            engine.pulumi("preview", scenario=scenario, check=True)
            walls: dict[str, list[float]] = {name: [] for name in packs}
            cpus: dict[str, list[float]] = {name: [] for name in packs}
            for _ in range(runs):
                for name, arguments in packs.items():
                    before = resource.getrusage(resource.RUSAGE_CHILDREN)
                    run = engine.pulumi("preview", *arguments, scenario=scenario, check=True)
                    after = resource.getrusage(resource.RUSAGE_CHILDREN)
                    walls[name].append(run.seconds)
                    cpus[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        for name in packs:
            wall, cpu = statistics.median(walls[name]), statistics.median(cpus[name])
            wall_ratio, cpu_ratio = wall / statistics.median(walls["none"]), cpu / statistics.median(cpus["none"])
            lines.append(
                f"| {len(resources):,} | {name} | {wall:.1f} | {wall_ratio:.2f} | {cpu:.1f} | {cpu_ratio:.2f} |"
            )
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-previews", action="store_true", help="only the rules themselves")
    parser.add_argument("--quick", action="store_true", help="one run of each, smaller previews")
    options = parser.parse_args()
    print("\n".join(scaling(1 if options.quick else 3)))
    if (TOOLS / "pulumi").exists() and not options.no_previews:
        print()
        print("\n".join(previews((10, 100) if options.quick else (50, 500), 1 if options.quick else 3)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
