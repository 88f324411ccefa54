"""What a command loads before it knows what to do. benchmarks/bench_start.py measures the time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Clients of a cluster and the whole of Pulumi: each takes longer to load than a command that only reads may take.
HEAVY = ("kubernetes", "pulumi", "requests", "pulumi_kubernetes", "cryptography.x509")


@pytest.mark.parametrize("command", ["", "ledger", "check", "audit", "tombstone", "ledger-diff", "root", "cluster"])
def test_help_loads_no_client(command: str) -> None:
    given = [command, "--help"] if command else ["--help"]
    # Changing files in the style of who wrote them is for `root` and `cluster`.
    heavy = HEAVY if command in ("check", "root", "cluster") else (*HEAVY, "ruamel.yaml")
    program = (
        "import sys, cli.main\n"
        f"try:\n    cli.main.main({given})\nexcept SystemExit:\n    pass\n"
        f"print('LOADED', [name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("LOADED []\n"), done.stdout[-200:]


def test_the_list_of_rules_loads_no_reader_of_git_trees() -> None:
    program = (
        "import sys, cli.main\n"
        "assert cli.main.main(['policy', 'rules']) == 0\n"
        "print('LOADED', [name for name in sys.modules if name.startswith('policy.readers.git')])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("LOADED []\n"), done.stdout[-200:]
