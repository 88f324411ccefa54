"""Start Pulumi's exec shim so that a failing program prints its error once.

The shim ends with exit code 1 after it has logged a `pulumi.RunError`; the host
would then print a second error. This wrapper ends with code 32, "the user has
seen the error", whenever an error was logged, and after an interrupt.

Use: python -u pulumi-language-python-launch.py SHIM [shim arguments]
"""

import runpy
import sys
from typing import Any

ERROR_SHOWN = 32


def count_errors() -> list[bool]:
    """Note every error that the program logs; an absent SDK is reported by the shim."""
    shown: list[bool] = []
    try:
        from pulumi import log
    except ImportError:
        return shown
    error = log.error

    def noted(*args: Any, **kwargs: Any) -> None:
        error(*args, **kwargs)
        shown.append(True)

    log.error = noted
    return shown


def main() -> None:
    """Run the shim under its own name and translate its exit code."""
    del sys.argv[0]
    shown = count_errors()
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except KeyboardInterrupt:
        sys.exit(ERROR_SHOWN)
    except SystemExit as end:
        sys.exit(ERROR_SHOWN if end.code == 1 and shown else end.code)


main()
