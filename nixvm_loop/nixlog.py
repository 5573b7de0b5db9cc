"""Reads the lines of `nix --log-format internal-json`: bytes in, messages out; what is not understood stays text."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from nixvm_loop.model.nixerror import NixError, Place

UNKNOWN: Final = 0
BUILD: Final = 105
"""Activity: a derivation is being built; its first field is the derivation."""
COPY_PATH: Final = 100
FILE_TRANSFER: Final = 101
REALISE: Final = 102
BUILDS: Final = 104
"""Activity: the parent of all builds; its progress counts derivations."""
BUILD_WAITING: Final = 111
FETCH_TREE: Final = 112

LOG_LINES: Final = (101, 107)
"""Results: a line of a builder, of a post-build hook."""
SET_PHASE: Final = 104
PROGRESS: Final = 105

INFO_LEVEL: Final = 3
"""The highest level that Nix shows unless asked for more."""

# Some versions put systemd's priority in front when they believe to log to the journal.
_MESSAGE: Final = re.compile(rb"(?:<\d>)?@nix (?=\{)")
_ESCAPES: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, queries
    r"|\x1b[\]PX^_][^\n]*?(?:\x07|\x1b\\|(?=\n)|$)"  # OSC, DCS and their like, with their text
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]+")
_ERROR: Final = "error:"


@dataclass(frozen=True, slots=True)
class Start:
    """An activity began. `kind` is Nix's number for it; unknown ones are harmless."""

    id: int
    level: int
    kind: int
    text: str
    fields: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """An activity ended, well or not: Nix does not say."""

    id: int


@dataclass(frozen=True, slots=True)
class Result:
    """News of an activity; `kind` is Nix's number for it."""

    id: int
    kind: int
    fields: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """Words for the user that are no error; may have several lines."""

    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Plain:
    """A line that is not of the protocol."""

    text: str


Message: TypeAlias = Start | Stop | Result | Said | NixError | Plain


def parse(line: bytes) -> Message:
    """The message in a line of nix's standard error, given without its newline."""
    start = _MESSAGE.match(line)
    if start is not None:
        try:
            value = json.loads(line[start.end() :])
            return _message(value)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            pass  # a shape that is not known: shown as it came
    return Plain(clean(line.decode("utf-8", "replace")))


def clean(text: str) -> str:
    """Text without escape sequences and control characters; of a line that overwrites itself, what stays visible."""
    if text.isprintable():
        return text
    lines = (_overwritten(line) for line in _ESCAPES.sub("", text).split("\n"))
    return "\n".join(_CONTROLS.sub("\ufffd", line) for line in lines)


def _overwritten(line: str) -> str:
    return line.rstrip("\r").rpartition("\r")[2]


def _message(value: dict[str, Any]) -> Message:
    match value["action"]:
        case "start":
            fields = tuple(value.get("fields", ()))
            return Start(int(value["id"]), int(value["level"]), int(value["type"]), clean(value["text"]), fields)
        case "stop":
            return Stop(int(value["id"]))
        case "result":
            return Result(int(value["id"]), int(value["type"]), tuple(value.get("fields", ())))
        case "msg":
            return _said(value)
        case action:
            raise ValueError(action)


def _said(value: dict[str, Any]) -> Said | NixError:
    text = clean(value["msg"])
    # Traces of `builtins.trace` have level 0 as well.
    if value["level"] != 0 or not text.startswith(_ERROR):
        return Said(int(value["level"]), text)
    raw = value.get("raw_msg")
    return NixError(
        text=(clean(raw) if isinstance(raw, str) else text.removeprefix(_ERROR)).strip(),
        full=text,
        place=_place(value),
        trace=tuple(place for frame in value.get("trace", ()) if (place := _place(frame)) is not None),
    )


def _place(value: dict[str, Any]) -> Place | None:
    file, line = value.get("file"), value.get("line")
    if not isinstance(file, str) or not isinstance(line, int) or line < 1:
        return None
    column = value.get("column") or 0
    # Nix 2.26 appends the position to the file's name.
    return Place(clean(file).removesuffix(f":{line}:{column}"), line, column)
