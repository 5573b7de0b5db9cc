"""What the `history` command says, as plain text (no terminal library is loaded for it)."""

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING, NamedTuple

from nixvm_loop.events.generations import BootedSource
from nixvm_loop.present.sanitise import clean
from nixvm_loop.present.words import LINE_LIMIT, MESSAGE_LIMIT, age

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nixvm_loop.events.generations import GenerationInfo, History

_UNKNOWN = "-"
_GAP = "  "
_NAMED_PATHS = 3


class Row(NamedTuple):
    """The cells of one generation."""

    number: str
    age: str
    verdict: str
    action: str
    roles: str
    changed: str


HEADERS = Row("generation", "age", "verdict", "action", "is", "changed")


def rows(event: History) -> list[Row]:
    """The cells of every generation, all harmless."""
    folder = _common_folder(path for one in event.generations for path in one.changes)
    return [_row(one, folder) for one in event.generations]


def remarks(event: History) -> list[str]:
    """What stands below the table: what the guest booted, says who, and what is wrong in the state directory."""
    return [clean(line, MESSAGE_LIMIT) for line in (f"booted: {_booted(event)}", *event.problems)]


def lines(event: History) -> list[str]:
    """The whole answer in columns."""
    cells = rows(event)
    if not cells:
        return ["no generation yet", *remarks(event)]
    widths = [max(len(row[column]) for row in (HEADERS, *cells)) for column in range(len(HEADERS))]
    table = [
        _GAP.join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (HEADERS, *cells)
    ]
    return [*table, *remarks(event)]


def _row(one: GenerationInfo, folder: str) -> Row:
    roles = (
        ("built", one.built),
        ("current", one.current),
        ("booted", one.booted),
        ("switched to", one.runs and not one.booted),
        ("last good", one.last_good),
    )
    return Row(
        number=str(one.number),
        age=_UNKNOWN if one.age_seconds is None else age(one.age_seconds),
        verdict=one.verdict or _UNKNOWN,
        action=one.action or _UNKNOWN,
        roles=", ".join(name for name, applies in roles if applies) or _UNKNOWN,
        changed=clean(one.problem or _changed(one, folder), LINE_LIMIT),
    )


def _changed(one: GenerationInfo, folder: str) -> str:
    if not one.changes:
        return one.reason or _UNKNOWN
    named = ", ".join(path.removeprefix(folder) for path in one.changes[:_NAMED_PATHS])
    more = len(one.changes) - _NAMED_PATHS
    return named + (f" and {more} more" if more > 0 else "")


def _common_folder(paths: Iterable[str]) -> str:
    """The folder that all paths are in, with its last slash; nothing when they have none in common."""
    folders = {os.path.dirname(path) for path in paths}  # noqa: PTH120  # text, not a file
    try:
        return os.path.commonpath(folders).rstrip("/") + "/"
    except ValueError:
        return ""


def _booted(event: History) -> str:
    why = f"; {event.booted_problem}" if event.booted_problem else ""
    which = f"unknown: {event.booted_system}" if event.booted is None else f"generation {event.booted}"
    match event.booted_source:
        case BootedSource.GUEST:
            return f"{which}, as the guest says"
        case BootedSource.LAST_SEEN:
            when = "" if event.booted_age_seconds is None else f" {age(event.booted_age_seconds)}"
            return f"{which}, as last seen{when}{why}"
        case BootedSource.LIBVIRT:
            return f"nothing{why}"
        case None:
            return f"unknown{why}"
