"""The question before something that cannot be undone by the same command."""

from __future__ import annotations

import sys

from nixvm_loop.errors import UsageError
from nixvm_loop.present.stream import LineWriter


def agree(question: str, *, alone: str, refused: str) -> None:
    """Ask on the terminal; anything but yes is a no.

    Raises:
        UsageError: the answer was no (`refused` says what comes of it), or nobody can be asked (`alone` says what for).
    """
    if not sys.stdin.isatty():
        raise UsageError(f"{alone}, and there is nobody to ask", hint="say --yes")
    LineWriter(sys.stderr).write(f"{question} [y/N] ")
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise UsageError(refused)
