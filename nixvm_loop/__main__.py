"""`python -m nixvm_loop`, and the entry point of the installed command."""

from __future__ import annotations

import sys

from nixvm_loop.cli import main


def run() -> None:
    """Run the command line and exit with its code."""
    sys.exit(main())


if __name__ == "__main__":
    run()
