"""`python -m nixvm_loop`, and the entry point of the installed command."""

from __future__ import annotations

import gc
import os
import signal
import sys

_GARBAGE_AFTER = 10_000
_INTERRUPTED = 130


def run() -> None:
    """Run the command line and exit with its code."""
    # Before the command line listens to signals, and when it does no more, there is nothing to clear away.
    _leave_on_signals(_INTERRUPTED)
    from nixvm_loop.cli import main  # noqa: PLC0415  # a signal meanwhile is not to end in a traceback

    # Nearly all that the start makes lives to the end: looking for garbage in it costs a tenth of the start ...
    gc.set_threshold(_GARBAGE_AFTER)
    code = main()
    _leave_on_signals(code)
    if code == _INTERRUPTED:
        # Python would exit by the signal after all if that came during an exec(), as dataclasses use it.
        os._exit(code)
    # ... and most of the exit, unless it is frozen.
    gc.freeze()
    sys.exit(code)


def _leave_on_signals(code: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(code))


if __name__ == "__main__":
    run()
