"""What runs in the cluster: `python -m secret_authority.engine COMMAND`."""

from __future__ import annotations

import argparse
import importlib
import sys

from secret_authority.contract.names import BOOTSTRAP_EVIDENCE, CONSUMPTION_EVIDENCE, HANDOVER_EVIDENCE

# Each command with its module and the function there that adds it. Only the one that is asked for is loaded: the small
# ones run beside Vault and in workloads, without a client of anything.
_COMMANDS = {
    "authority": ("authority", "register"),
    BOOTSTRAP_EVIDENCE: ("bootstrap_evidence", "register"),
    "consumption": ("consumption", "register"),
    CONSUMPTION_EVIDENCE: ("await_evidence", "register_consumption"),
    "database-session": ("database_session", "register"),
    "events": ("events", "register"),
    "fingerprint": ("fingerprint", "register"),
    HANDOVER_EVIDENCE: ("await_evidence", "register_handover"),
    "listener": ("vault_reloader", "register"),
    "prepare-verification": ("snapshot_verification", "register_prepare"),
    "read-git": ("read_git", "register"),
    "rotation": ("rotation", "register"),
    "snapshots": ("snapshots", "register"),
    "verify-snapshot": ("snapshot_verification", "register_verify"),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="engine")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    for name in [asked] if asked in _COMMANDS else _COMMANDS:
        module, function = _COMMANDS[name]
        getattr(importlib.import_module(f"secret_authority.engine.commands.{module}"), function)(verbs)
    options = parser.parse_args()
    code: int = options.run(options)
    return code


if __name__ == "__main__":
    sys.exit(main())
