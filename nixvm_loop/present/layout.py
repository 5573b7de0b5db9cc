"""Lines of styled text that keep to a width, and sections that share a height. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence


class Cut(Enum):
    """Which end of a section gives way when there is too little room."""

    TAIL = "tail"
    HEAD = "head"


@dataclass(frozen=True, slots=True)
class Section:
    """Some lines of the screen.

    Attributes:
        rank: The smaller, the sooner it gets room.
        least: The lines that it gets before others get more than theirs.
    """

    lines: Sequence[Text]
    rank: int
    least: int
    cut: Cut = Cut.TAIL


def fit(line: Text, width: int) -> Text:
    """The line in at most `width` cells."""
    line = line.copy()
    line.truncate(max(width, 1), overflow="ellipsis")
    return line


def spread(left: Text, right: Text, width: int) -> Text:
    """One line with `right` at its right end; `left` gives way."""
    room = width - right.cell_len - 1
    if room < 1:
        return fit(right, width)
    left = fit(left, room)
    return Text.assemble(left, " " * (width - left.cell_len - right.cell_len), right)


def pack(items: Sequence[Text], width: int, gap: str = "  ") -> list[Text]:
    """The items one after another on as few lines as hold them."""
    lines: list[Text] = []
    for item in items:
        if lines and lines[-1].cell_len + len(gap) + item.cell_len <= width:
            lines[-1] = Text.assemble(lines[-1], gap, item)
        else:
            lines.append(item)
    return lines


def stack(sections: Sequence[Section], height: int) -> list[Text]:
    """The sections in their order, in at most `height` lines."""
    room = max(height, 0)
    given = [0] * len(sections)
    by_rank = sorted(range(len(sections)), key=lambda index: sections[index].rank)
    for index in by_rank:
        given[index] = min(len(sections[index].lines), sections[index].least, room)
        room -= given[index]
    for index in by_rank:
        more = min(len(sections[index].lines) - given[index], room)
        given[index] += more
        room -= more
    return [line for section, count in zip(sections, given, strict=True) for line in _part(section, count)]


def _part(section: Section, count: int) -> Sequence[Text]:
    hidden = len(section.lines) - count
    if hidden <= 0 or count == 0:
        return section.lines[:count]
    if section.cut is Cut.HEAD:
        return section.lines[hidden:]
    if count == 1:
        return section.lines[:1]
    return [*section.lines[: count - 1], Text(f"  … {hidden + 1} more", style="dim")]
