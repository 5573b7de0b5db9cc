"""Questions on the terminal."""

from __future__ import annotations

import sys
from typing import Final

from nixvm_loop.errors import UsageError
from nixvm_loop.present.sanitise import clean
from nixvm_loop.present.stream import LineWriter

_LIMIT: Final = 2000


def answer() -> str:
    """What is typed up to the next Enter, with its end; "" at the end of input. What is no text counts as nonsense."""
    try:
        return sys.stdin.readline()
    except UnicodeDecodeError:
        return "?\n"


def agreed(question: str) -> bool:
    """Ask; anything but yes is a no. Names in the question may be anybody's."""
    LineWriter(sys.stderr).write(f"{clean(question, _LIMIT)} [y/N] ")
    return answer().strip().lower() in {"y", "yes"}


def agree(question: str, *, alone: str, refused: str) -> None:
    """Ask before something that cannot be undone by the same command.

    Raises:
        UsageError: the answer was no (`refused` says what comes of it), or nobody can be asked (`alone` says what for).
    """
    if not sys.stdin.isatty():
        raise UsageError(f"{alone}, and there is nobody to ask", hint="say --yes")
    if not agreed(question):
        raise UsageError(refused)
