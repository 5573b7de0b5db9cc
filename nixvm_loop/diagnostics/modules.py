"""Errors of the module system: they name options and files in prose, never a line."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPTION: Final = re.compile(r"(?:[Oo]ption|[Ff]or option) `([^']+)'")
_FILE: Final = re.compile(r"\b[Ii]n `([^']+?)(?:, via option [^']+)?'")
_FAILED_ASSERTIONS: Final = "Failed assertions:"
_SUGGESTION: Final = re.compile(r"^Did you mean .+$", re.MULTILINE)
_TOKEN: Final = re.compile(
    r"""\#[^\n]* | /\*.*?\*/ | ''.*?''(?!['$\\])
    | (?P<name>[A-Za-z_][\w'-]* | "(?:\\.|[^"\\])*")
    | (?P<comparison>[=!<>]=) | (?P<mark>[.;{}=]) | (?P<other>\S)""",
    re.DOTALL | re.VERBOSE,
)


def option_of(text: str) -> str | None:
    """The option that an error is about."""
    match = _OPTION.search(text)
    return None if match is None else match[1]


def files_of(text: str) -> tuple[str, ...]:
    """The files that an error says an option is defined in, as Nix names them."""
    return tuple(match[1] for match in _FILE.finditer(text))


def failed_assertions(text: str) -> tuple[str, ...]:
    """The messages of failed assertions; empty for another error."""
    head, found, rest = text.partition(_FAILED_ASSERTIONS)
    if not found or head.strip():
        return ()
    return tuple(part.strip() for part in re.split(r"^- ", rest, flags=re.MULTILINE) if part.strip())


def suggestion(text: str) -> str | None:
    """What the error itself proposes."""
    match = _SUGGESTION.search(text)
    return None if match is None else match[0]


def position_of(option: str, text: str) -> tuple[int, int]:
    """Line and column (from 1) of the option's likeliest definition in a file's text; (1, 1) when it is not there.

    The definition may be nested (`a = { b.c = …; }`) and inside `config = { … }` or `mkIf`; if only a part that
    contains the option is defined (`a = import …;`), that is the place.
    """
    wanted = _parts(option)
    best, at = 0, None
    for path, offset in _definitions(text):
        weight = _fit(path, wanted)
        if weight > best:
            best, at = weight, offset
    if at is None:
        return 1, 1
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def _definitions(text: str) -> Iterator[tuple[list[str], int]]:
    """Every attribute that is defined, with its path through the braces around it and where its last name stands."""
    stack: list[list[str]] = []
    path: list[str] = []
    defined: list[str] = []
    last, before = 0, ""
    for token in _TOKEN.finditer(text):
        mark = token["mark"]
        if token["name"]:
            if before != ".":
                path = []
            path.append(token["name"].strip('"'))
            last = token.start()
        elif mark == "=":
            defined = path
            yield [part for parts in stack for part in parts] + path, last
        elif mark == "{":
            stack.append(defined)
            defined = []
        elif mark == "}":
            del stack[-1:]
        elif mark == ";":
            defined = []
        before = mark or ""


def _fit(path: list[str], wanted: list[str]) -> int:
    """How well a defined path fits: parts in common, those at the beginning counting double."""
    # What is around it (`config`, or a whole flake) is not part of the option's name.
    inner = path[path.index(wanted[0]) :] if wanted[0] in path else path
    return 2 * _same(inner, wanted) + _same(inner[::-1], wanted[::-1])


def _same(left: list[str], right: list[str]) -> int:
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))


def _parts(option: str) -> list[str]:
    return [part.strip().strip('"') for part in re.findall(r'"[^"]*"|[^.]+', option)] or [option]
