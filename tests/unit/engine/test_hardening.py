"""A process with secrets in memory leaves no core dump and cannot be looked into."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROGRAM = """
import ctypes, resource
from secret_authority.engine.common.hardening import forbid_dumps
before = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
forbid_dumps()
print(before, ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))
"""


def test_no_core_and_not_dumpable() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split(" ", 1)[1] == "0 (0, 0)\n"
