"""How fast is a handover? 1,000 secrets, against raw KV writes of the same values by one client, in one run.

    python -m benchmarks.bench_handover --kubeconfig FILE [--secrets 1000]

It needs the vault program and the API server of a node; it makes a namespace and a Vault process of its own
and takes both away. Ratios carry over to other machines, seconds do not. A raw write is one request and no
proof; a handover reads the Secret, writes, reads back and compares, records, empties the Secret and appends
the audit event.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.handover_site import Site, site


def _timed(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def _raw(place: Site, count: int, prefix: str) -> None:
    """One client, one write a secret, check-and-set as the mount demands."""
    vault = place.root
    for number in range(count):
        body = {"options": {"cas": 0}, "data": {"password": f"value-{number}"}}
        vault.write(f"platform-data/data/{prefix}/{number}", body)


def measure(place: Site, count: int, workers: int) -> dict[str, float]:
    """Seconds of each way, `count` secrets each."""
    names = [f"s-{number}" for number in range(count)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(lambda name: place.make(name, {"password": secrets.token_bytes(24).hex().encode()}), names))
    entries = [place.entry(name) for name in names]
    found = {"raw KV writes, before": _timed(lambda: _raw(place, count, "raw-1"))}

    def hand_over(workers: int) -> None:
        assert place.hand_over(entries, workers=workers).complete  # noqa: S101

    found[f"handover, {workers} at a time"] = _timed(lambda: hand_over(workers))
    found["looking at all of them again"] = _timed(lambda: hand_over(workers))
    # The same again afterwards: the ratio is taken against the mean of both.
    found["raw KV writes, after"] = _timed(lambda: _raw(place, count, "raw-2"))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--secrets", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, site(Path(folder), options.kubeconfig) as place:
        found = measure(place, options.secrets, options.workers)
    raw = (found["raw KV writes, before"] + found["raw KV writes, after"]) / 2
    if options.json:
        print(json.dumps({"secrets": options.secrets, "seconds": found, "raw": raw}))
        return 0
    print(f"{options.secrets} secrets")
    for way, seconds in found.items():
        print(f"  {seconds:8.2f} s  {1000 * seconds / options.secrets:7.2f} ms each  {seconds / raw:6.2f} x raw  {way}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
