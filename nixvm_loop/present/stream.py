"""Writes lines to a stream whose reader may leave and whose encoding may not know every character."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

_READER_GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.EIO})  # EIO: the terminal was closed


class LineWriter:
    """Writes and flushes whole lines. Once the reader has gone it is silent, and says so once through `on_closed`."""

    def __init__(self, stream: TextIO, on_closed: Callable[[], None] | None = None) -> None:
        self._stream = stream
        self._on_closed = on_closed
        self._closed = False

    def line(self, text: str) -> None:
        """Write and flush one line."""
        self.write(text + "\n")

    def write(self, text: str) -> None:
        """Write and flush `text`; characters that the stream's encoding lacks become `?`."""
        if self._closed:
            return
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "replace").decode(encoding))
            self._stream.flush()
        except OSError as error:
            self._close(error)

    def utf8_line(self, text: str) -> None:
        """Write one line in UTF-8, whatever the stream's own encoding is."""
        buffer = getattr(self._stream, "buffer", None)
        if buffer is None:
            self.write(text + "\n")
            return
        if self._closed:
            return
        try:
            buffer.write(text.encode("utf-8", "replace") + b"\n")
            buffer.flush()
        except OSError as error:
            self._close(error)

    def _close(self, error: OSError) -> None:
        if error.errno not in _READER_GONE:
            raise error
        self._closed = True
        # What is still buffered would fail again when the interpreter flushes it at its end.
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
        if self._on_closed is not None:
            self._on_closed()
