"""Problems of a configuration file: collected while it is read, told all at once with their lines."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KeyPath: TypeAlias = tuple[str | int, ...]

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_HEADER: Final = re.compile(r"\s*(\[\[?[^\[\]]+\]\]?)\s*(?:#.*)?")
_KEY: Final = re.compile(r"\s*([^=\[#\s][^=]*)=")
_SHOWN_CHARACTERS: Final = 60


class ReportedError(Exception):
    """A value cannot be used, and the reason is among the problems already."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with the key at `path`."""

    path: KeyPath
    message: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the document a value stands, and where its problems go.

    Attributes:
        base: The folder of the configuration file; relative paths start there.
    """

    base: Path
    path: KeyPath = ()
    problems: list[Problem] = field(default_factory=list)

    def child(self, key: str | int) -> Place:
        """The place of an entry of this table or list."""
        return Place(self.base, (*self.path, key), self.problems)

    def fail(self, message: str) -> None:
        """Note a problem with the value here."""
        self.problems.append(Problem(self.path, message))


def dotted(path: KeyPath) -> str:
    """A key path as one would type it: `guests."my.host".checks[0].name`."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += ("." if text else "") + (key if _BARE_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False))
    return text


def shown(value: object) -> str:
    """A TOML value in a message, cut to a readable length."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            text = json.dumps(value, ensure_ascii=False)
        case dict():
            return "a table"
        case list():
            return "a list"
        case _:
            text = str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def sentences(problems: list[Problem], text: str, name: str) -> tuple[str, ...]:
    """One line for each problem of the file `name` with this text, in the file's order."""
    lines = key_lines(text)
    located = sorted(((_line(problem.path, lines), problem) for problem in problems), key=lambda pair: pair[0])
    return tuple(f"{name}:{line}: {dotted(problem.path)}: {problem.message}" for line, problem in located)


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line, from 1, on which each table and key of a TOML text starts.

    A plain search: what stands inside a multi-line string may be taken for a key, and inline tables have one line.
    """
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, line in enumerate(text.split("\n"), 1):
        if match := _HEADER.fullmatch(line):
            keys = tuple(_keys(match[1]))
            table = _indexed(keys, counts)
            if keys and match[1].startswith("[["):
                name = (*_indexed(keys[:-1], counts), keys[-1])
                table = (*name, counts.get(name, 0))
                counts[name] = counts.get(name, 0) + 1
            for length in range(1, len(table) + 1):
                lines.setdefault(table[:length], number)
        elif match := _KEY.match(line):
            lines.setdefault((*table, *_keys(match[1] + "= 0")), number)
    return lines


def _keys(toml: str) -> Iterator[str]:
    try:
        value: Any = tomllib.loads(toml)
    except tomllib.TOMLDecodeError:
        return
    while isinstance(value, dict) and value:
        key, value = next(iter(value.items()))
        yield key


def _indexed(keys: tuple[str, ...], counts: dict[KeyPath, int]) -> KeyPath:
    # A header below an array of tables means the array's newest entry.
    path: KeyPath = ()
    for key in keys:
        path = (*path, key)
        if path in counts:
            path = (*path, counts[path] - 1)
    return path


def _line(path: KeyPath, lines: dict[KeyPath, int]) -> int:
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return 1
