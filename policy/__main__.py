"""Starts the policy pack. Only the engine runs this file: building a PolicyPack serves until it is ended.

The engine runs it with the pack's folder as working directory, so the root of the repository is put on the
path first. Nothing may be printed before the pack has written its port.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# The pack's own folder would let policy/rules shadow a package named rules.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

from pulumi_policy import EnforcementLevel, PolicyPack  # noqa: E402

from policy.pack import PACK_NAME, concerned, policies  # noqa: E402
from policy.shared_requests import install  # noqa: E402

install(concerned)

PolicyPack(PACK_NAME, policies(), enforcement_level=EnforcementLevel.MANDATORY)
