"""What runs in the cluster: `python -m engine VERB`. Each `*_verb` file of this room adds one verb."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys

import engine


def main() -> int:
    parser = argparse.ArgumentParser(prog="engine")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    modules = sorted(info.name for info in pkgutil.iter_modules(engine.__path__) if info.name.endswith("_verb"))
    # A known verb is loaded alone: the small ones run beside Vault and in workloads, without a client of anything.
    asked = f"{sys.argv[1].replace('-', '_')}_verb" if len(sys.argv) > 1 else ""
    for module in [asked] if asked in modules else modules:
        importlib.import_module(f"engine.{module}").register(verbs)
    options = parser.parse_args()
    code: int = options.run(options)
    return code


if __name__ == "__main__":
    sys.exit(main())
