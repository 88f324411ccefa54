"""How long commands take to start, as a ratio to `python -c pass`.

    python -m benchmarks.bench_start [--rounds 10]

Each command runs as often as `--rounds` says, in turn with the others, so that what else the machine does meets all of
them. The smallest time counts: it has the least of that in it. Goal on an idle machine: help and commands that only
read start in less than 0.3 seconds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from examples.make_fleet import make_fleet

ROOT = Path(__file__).parents[1]
BASE = "python -c pass"


def commands(fleet: Path) -> dict[str, list[str]]:
    """The commands by what is printed of them."""
    where = ["--repository", str(fleet), "--cluster", "dev"]
    return {
        BASE: ["-c", "pass"],
        "--help": ["-m", "cli.main", "--help"],
        "audit --help": ["-m", "cli.main", "audit", "--help"],
        "ledger --help": ["-m", "cli.main", "ledger", "--help"],
        "policy rules": ["-m", "cli.main", "policy", "rules"],
        # These two also read a repository of 12 encrypted files; `ledger` asks Git for the age of each.
        "check": ["-m", "cli.main", "check", *where],
        "ledger --offline": ["-m", "cli.main", "ledger", "--offline", *where],
    }


def once(arguments: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def measure(rounds: int) -> dict[str, float]:
    """The smallest time of each command, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        make_fleet(home / "fleet", home / "root.age", "dev")
        wanted = commands(home / "fleet")
        times = [{name: once(arguments) for name, arguments in wanted.items()} for _ in range(rounds)]
    return {name: min(each[name] for each in times) for name in wanted}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    found = measure(parser.parse_args().rounds)
    for name, seconds in found.items():
        print(f"{name:18} {seconds * 1000:6.0f} ms  {seconds / found[BASE]:5.1f} x")
    return 0


if __name__ == "__main__":
    sys.exit(main())
