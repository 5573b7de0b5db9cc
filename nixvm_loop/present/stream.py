"""Writes lines to a stream whose reader may leave and whose encoding may not know every character."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from nixvm_loop.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable

_READER_GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.EIO})  # EIO: the terminal was closed


def is_reader_gone(error: OSError) -> bool:
    """Whether a write failed because nobody reads, and not because something is broken."""
    return error.errno in _READER_GONE


def unwritable(error: OSError) -> OutputError:
    """How the user is told that standard output cannot be written."""
    return OutputError(f"standard output cannot be written: {error.strerror or error}")


def silence(stream: TextIO) -> None:
    """Send what is still buffered, and all that follows, to /dev/null: the interpreter flushes once more at its end."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        stream.flush()


class LineWriter:
    """Writes and flushes whole lines. Once that has failed it is silent, and says so once through `on_lost`.

    Attributes:
        lost: Why it is silent.
    """

    def __init__(self, stream: TextIO, on_lost: Callable[[OSError], None] | None = None) -> None:
        self.lost: OSError | None = None
        self._stream = stream
        self._on_lost = on_lost

    def line(self, text: str) -> None:
        """Write and flush one line."""
        self.write(text + "\n")

    def write(self, text: str) -> None:
        """Write and flush `text`; characters that the stream's encoding lacks become `?`."""
        if self.lost is not None:
            return
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "replace").decode(encoding))
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def utf8_line(self, text: str) -> None:
        """Write one line in UTF-8, whatever the stream's own encoding is."""
        buffer = getattr(self._stream, "buffer", None)
        if buffer is None:
            self.write(text + "\n")
            return
        if self.lost is not None:
            return
        try:
            buffer.write(text.encode("utf-8", "replace") + b"\n")
            buffer.flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        self.lost = error
        silence(self._stream)
        if self._on_lost is not None:
            self._on_lost(error)
