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
    for module in sorted(info.name for info in pkgutil.iter_modules(engine.__path__)):
        if module.endswith("_verb"):
            importlib.import_module(f"engine.{module}").register(verbs)
    options = parser.parse_args()
    code: int = options.run(options)
    return code


if __name__ == "__main__":
    sys.exit(main())
