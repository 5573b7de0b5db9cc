"""Keeps a region of lines at the bottom of a terminal, in one write per frame and without erasing first: no flicker."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixvm_loop.present.stream import LineWriter

_BEGIN = "\x1b[?2026h\x1b[?25l"  # one frame at once, where the terminal knows how; no cursor
_END = "\x1b[?2026l"
_NO_WRAP = "\x1b[?7l"  # a character wider than we think must not cost the region another line
_WRAP = "\x1b[?7h"
_ERASE_REST_OF_LINE = "\x1b[K"
_ERASE_LINE = "\x1b[2K"
_ERASE_BELOW = "\x1b[J"
_SHOW_CURSOR = "\x1b[?25h"
_RESET = "\x1b[0m"


class Painter:
    """Draws frames of ready-made lines; the cursor rests at the start of the last one."""

    def __init__(self, out: LineWriter) -> None:
        self._out = out
        self._lines: Sequence[str] = ()
        self._cells: Sequence[int] = ()
        self._width = 0

    @property
    def is_drawn(self) -> bool:
        """Whether the region is on the terminal."""
        return bool(self._lines)

    def forget(self) -> None:
        """Somebody else wrote on the terminal: begin anew where the cursor is."""
        self._lines, self._cells, self._width = (), (), 0

    def draw(self, lines: Sequence[str], cells: Sequence[int], width: int, *, above: Sequence[str] = ()) -> None:
        """Show `lines` (each `cells` wide) as the region, and `above` it for good what scrolls away."""
        anew = bool(above) or width != self._width
        if not anew and list(lines) == list(self._lines):
            return
        known = () if anew else self._lines
        to_top = self._erase(width) if anew else self._up(len(self._lines) - 1)
        kept = "".join(f"{line}{_RESET}\n" for line in above)
        shorter = anew or len(lines) < len(self._lines)
        body = "\n".join(_changed(lines, cells, known, width, _ERASE_BELOW if shorter else ""))
        self._out.write(f"{_BEGIN}{to_top}{kept}{_NO_WRAP}{body}\r{_WRAP}{_END}")
        self._lines, self._cells, self._width = lines, cells, width

    def close(self, width: int, *, above: Sequence[str] = ()) -> None:
        """Take the region away, leave `above` and give the cursor back."""
        kept = "".join(f"{line}{_RESET}\n" for line in above)
        self._out.write(f"{self._erase(width)}{kept}{_WRAP}{_SHOW_CURSOR}")
        self._lines, self._cells = (), ()

    @staticmethod
    def _up(rows: int) -> str:
        return f"\r\x1b[{rows}A" if rows > 0 else "\r"

    def _erase(self, width: int) -> str:
        # Row by row: some terminals keep in their history what is erased at one stroke. A terminal that became narrower
        # has folded the old lines, so that they take more rows; the cursor stayed at the start of the last one.
        rows = [-(-cells // max(width, 1)) or 1 for cells in self._cells]
        first = _ERASE_LINE if width == self._width else _ERASE_BELOW
        return f"\r{first}" + f"\x1b[A{_ERASE_LINE}" * sum(rows[:-1])


def _changed(lines: Sequence[str], cells: Sequence[int], known: Sequence[str], width: int, below: str) -> list[str]:
    parts = []
    for index, (line, wide) in enumerate(zip(lines, cells, strict=True)):
        # On a full line the cursor stands on the last character, so that erasing after it would take that away.
        rest = "" if wide >= width else _ERASE_REST_OF_LINE
        is_known = index < len(known) and known[index] == line
        if index == len(lines) - 1 and below:
            parts.append(f"{below}{line}")
        else:
            parts.append("" if is_known else f"{line}{rest}")
    return parts
