"""`python -m nixvm_loop`, and the entry point of the installed command."""

from __future__ import annotations

import gc
import sys
from typing import Final

from nixvm_loop.cli import main

_GARBAGE_AFTER: Final = 10_000


def run() -> None:
    """Run the command line and exit with its code."""
    # Nearly all that the start makes lives to the end: looking for garbage in it costs a tenth of the start ...
    gc.set_threshold(_GARBAGE_AFTER)
    code = main()
    # ... and most of the exit, unless it is frozen.
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    run()
