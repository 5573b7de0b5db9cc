"""NDJSON on stdout: one event a line and nothing else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nixvm_loop.events.codec import encode

if TYPE_CHECKING:
    from nixvm_loop.events.types import Stamped
    from nixvm_loop.present.stream import LineWriter

# JSON lets these stand raw in strings; terminals obey some, and some readers split lines at others.
_UNQUOTED = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class JsonSink:
    """Writes each event as it comes."""

    def __init__(self, stdout: LineWriter) -> None:
        self._stdout = stdout

    def handle(self, stamped: Stamped) -> None:
        """Write one event."""
        self._stdout.utf8_line(_UNQUOTED.sub(lambda match: f"\\u{ord(match[0]):04x}", encode(stamped)))
