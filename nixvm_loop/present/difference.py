"""What `diff` says, and what becomes of a definition, as marked lines (no terminal library is loaded for it)."""

from __future__ import annotations

import re
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING

from nixvm_loop.events.generations import ChangeKind
from nixvm_loop.present.sanitise import clean
from nixvm_loop.present.words import LINE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nixvm_loop.events.generations import Change, DefinitionChange, Difference

_STORE_PATH = re.compile(r"/nix/store/([0-9a-z]{7})[0-9a-z]{25}-([^/]+)")
_LABEL_WIDTH = 8
_FOLDED_FROM = 13
_MOST_CHANGES = 200


class Mark(StrEnum):
    """What a line tells of, as the character that it begins with; a heading has none."""

    HEADING = ""
    ADDED = "+"
    REMOVED = "-"
    CHANGED = "~"
    OTHER = " "


_MARKS = {ChangeKind.ADDED: Mark.ADDED, ChangeKind.REMOVED: Mark.REMOVED, ChangeKind.CHANGED: Mark.CHANGED}
_Line = tuple[Mark, str]


def marked_lines(event: Difference) -> list[_Line]:
    """The whole answer, harmless, each line with its mark."""
    added = [(Mark.ADDED, word) for word in event.parameters_added]
    removed = [(Mark.REMOVED, word) for word in event.parameters_removed]
    reordered = [(Mark.CHANGED, "their order")] if event.parameters_reordered else []
    incomplete = [(Mark.OTHER, event.etc_incomplete)] if event.etc_incomplete else []
    closure = [(Mark.OTHER, line) for line in event.closure]
    found = [
        (Mark.HEADING, f"generation {event.before} → {event.after}"),
        _pair("system", event.toplevel_before, event.toplevel_after),
        _pair("kernel", event.kernel_before, event.kernel_after),
        _pair("initrd", event.initrd_before, event.initrd_after),
        *_section("kernel parameters", [*added, *removed, *reordered]),
        *_section("units", _changes(event.units)),
        *_section("other files below etc", [*_changes(event.etc), *incomplete]),
        *_section("packages, as nix store diff-closures tells them (from 8 KiB on)", closure),
    ]
    return [(mark, clean(text, LINE_LIMIT)) for mark, text in found]


def lines(event: Difference) -> list[str]:
    """The whole answer as plain text."""
    return [text if mark is Mark.HEADING else f"  {mark} {text}" for mark, text in marked_lines(event)]


def definition_lines(event: DefinitionChange) -> list[_Line]:
    """The unified diff of a definition, harmless; the place of each hunk is marked as changed."""
    return [(_mark(line), clean(line, LINE_LIMIT)) for line in event.lines]


def _mark(line: str) -> Mark:
    if line.startswith(("--- ", "+++ ")):
        return Mark.HEADING
    if line.startswith("@@"):
        return Mark.CHANGED
    return {"+": Mark.ADDED, "-": Mark.REMOVED}.get(line[:1], Mark.OTHER)


def _pair(label: str, before: str, after: str) -> _Line:
    said = "the same" if before == after else f"{_name(before)} → {_name(after)}"
    return Mark.HEADING, f"{label:<{_LABEL_WIDTH}}{said}"


def _name(path: str) -> str:
    """`linux-6.12.8 (abcdefg)` of a path in the store, since names often agree."""
    match = _STORE_PATH.match(path)
    return f"{match[2]} ({match[1]})" if match else path


def _section(title: str, items: list[_Line]) -> list[_Line]:
    if not items:
        return [(Mark.HEADING, f"{title}: no difference")]
    return [(Mark.HEADING, f"{title}:"), *items]


def _changes(changes: Iterable[Change]) -> list[_Line]:
    """Each change; those of a folder in which many files differ as one line."""
    folders: dict[str, list[Change]] = {}
    for change in changes:
        folders.setdefault(change.name.partition("/")[0], []).append(change)
    found: list[_Line] = []
    for folder, inside in folders.items():
        if len(inside) < _FOLDED_FROM:
            found += [(_MARKS[change.change], change.name) for change in inside]
        else:
            counts = Counter(change.change for change in inside)
            said = ", ".join(f"{counts[kind]} {kind}" for kind in ChangeKind if counts[kind])
            found.append((Mark.CHANGED, f"{folder}/: {said}"))
    more = len(found) - _MOST_CHANGES
    return [*found[:_MOST_CHANGES], (Mark.OTHER, f"and {more} more")] if more > 0 else found
