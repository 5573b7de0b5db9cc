"""Bytes of a console into lines, prompts included."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

LINE_LIMIT_BYTES: Final = 64 << 10
# A carriage return alone starts the line anew; before a newline it means nothing.
_BREAK: Final = re.compile(rb"\r*\n|\r+(?=[^\r\n])")


class LineSplitter:
    """Calls `on_line` with each line, decoded as far as it can be, without its end.

    A partial line is told by `flush`, and once more as a whole when it went on after that. A line longer than
    `LINE_LIMIT_BYTES` comes in pieces.
    """

    def __init__(self, on_line: Callable[[str], object]) -> None:
        self._on_line = on_line
        self._partial = b""
        self._told = b""

    @property
    def waiting(self) -> bool:
        """Whether there is a partial line that nobody was told of."""
        return bool(self._partial.strip(b"\r")) and self._partial != self._told

    def feed(self, data: bytes) -> None:
        """Take what came."""
        text, start = self._partial + data, 0
        for match in _BREAK.finditer(text):
            # What a lone carriage return ends is only worth a line if there is something in it.
            if match[0].endswith(b"\n") or match.start() > start:
                self._tell(text[start : match.start()])
            start = match.end()
        self._partial = text[start:]
        while len(self._partial) >= LINE_LIMIT_BYTES:
            self._tell(self._partial[:LINE_LIMIT_BYTES])
            self._partial = self._partial[LINE_LIMIT_BYTES:]

    def flush(self) -> None:
        """Tell the partial line, because nothing has followed for a while or nothing will."""
        if self.waiting:
            self._emit(self._partial)
            self._told = self._partial

    def _tell(self, line: bytes) -> None:
        if not self._told or line != self._told.rstrip(b"\r"):
            self._emit(line)
        self._told = b""

    def _emit(self, line: bytes) -> None:
        self._on_line(line.rstrip(b"\r").decode(errors="replace"))
