"""The kinds of values that a configuration holds: how each is read, described in the schema, and written."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nixvm_loop.config.problems import Place, ReportedError, shown
from nixvm_loop.model.settings import Forward
from nixvm_loop.model.units import parse_duration, parse_share, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from enum import StrEnum

_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_FORWARD: Final = re.compile(r"([0-9]{1,5}):([0-9]{1,5})")
LAST_PORT: Final = 65535
_SECOND_S: Final = 1.0
_BYTES_UNITS: Final = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1))


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value.

    Attributes:
        read: From the TOML value to the setting. Raises ValueError with `expected …`, or ReportedError.
        schema: What JSON schema says about it.
        write: From the setting back to the TOML value.
    """

    read: Callable[[Any, Place], Any]
    schema: Mapping[str, Any]
    write: Callable[[Any], Any] = field(default=lambda value: value)


def attempt(kind: Kind, value: object, place: Place) -> Any:
    """The setting that `value` gives; a problem is noted at `place`, and None returned."""
    try:
        return kind.read(value, place)
    except ValueError as error:
        place.fail(f"{error}, not {shown(value)}")
    except ReportedError:
        pass
    return None


def line(expected: str = "some text", pattern: str = r".+", longest: int = 4096) -> Kind:
    """Text on one line that goes to other programs as one word; `expected` says what the pattern means."""

    def read(value: object, _place: Place) -> str:
        if isinstance(value, str) and _CONTROL.search(value):
            raise ValueError(f"expected {expected}, on one line and without control characters")
        if not isinstance(value, str) or not re.fullmatch(pattern, value) or len(value.encode()) > longest:
            raise ValueError(f"expected {expected}")
        return value

    return Kind(read, {"type": "string", "pattern": f"^(?:{pattern})$"})


def script(expected: str) -> Kind:
    """Text for a shell, on as many lines as it takes."""

    def read(value: object, _place: Place) -> str:
        if (
            not isinstance(value, str)
            or not value.strip()
            or _CONTROL.search(value.replace("\n", "").replace("\t", ""))
        ):
            raise ValueError(f"expected {expected}, without control characters")
        return value

    return Kind(read, {"type": "string"})


def integer(low: int, high: int) -> Kind:
    """A whole number in a range."""

    def read(value: object, _place: Place) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return value

    return Kind(read, {"type": "integer", "minimum": low, "maximum": high})


def boolean() -> Kind:
    """True or false."""

    def read(value: object, _place: Place) -> bool:
        if not isinstance(value, bool):
            raise ValueError("expected true or false")  # noqa: TRY004  # the reader turns ValueError into a problem
        return value

    return Kind(read, {"type": "boolean"})


def duration(low_s: float, high_s: float) -> Kind:
    """A duration with its unit, in seconds, within a range."""

    def read(value: object, _place: Place) -> float:
        seconds = parse_duration(value if isinstance(value, str) else "")
        if not low_s <= seconds <= high_s:
            raise ValueError(f'expected a duration from "{_duration(low_s)}" to "{_duration(high_s)}"')
        return seconds

    return Kind(read, {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(ms|s|m|h)\s*$"}, _duration)


def size(low_bytes: int, high_bytes: int) -> Kind:
    """A size with its unit, in bytes, within a range."""

    def read(value: object, _place: Place) -> int:
        try:
            size_bytes = parse_size(value if isinstance(value, str) else "")
        except OverflowError:
            size_bytes = high_bytes + 1
        if not low_bytes <= size_bytes <= high_bytes:
            raise ValueError(f'expected a size from "{_size(low_bytes)}" to "{_size(high_bytes)}"')
        return size_bytes

    return Kind(read, {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*([KMGT]i?)?B\s*$"}, _size)


def share() -> Kind:
    """A percentage, as a part of one."""

    def read(value: object, _place: Place) -> float:
        return parse_share(value if isinstance(value, str) else "")

    return Kind(read, {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*%\s*$"}, lambda part: f"{part * 100:g}%")


def choice(enum: type[StrEnum]) -> Kind:
    """One word of an enum."""
    words = [str(member.value) for member in enum]
    expected = " or ".join(f'"{word}"' for word in words)

    def read(value: object, _place: Place) -> StrEnum:
        if value not in words:
            raise ValueError(f"expected {expected}")
        return enum(value)

    return Kind(read, {"enum": words}, str)


def auto_or(kind: Kind) -> Kind:
    """`auto`, which is None in the settings, or a value of the given kind."""

    def read(value: object, place: Place) -> Any:
        return None if value == "auto" else kind.read(value, place)

    return Kind(
        read,
        {"anyOf": [{"const": "auto"}, kind.schema]},
        lambda value: "auto" if value is None else kind.write(value),
    )


def path() -> Kind:
    """A path on the host, absolute from then on; `~` is the home, relative ones start at the file's folder."""
    text = line("a path")

    def read(value: object, place: Place) -> Path:
        return absolute(text.read(value, place), place.base)

    return Kind(read, {"type": "string", "minLength": 1}, str)


def absolute(text: str, base: Path) -> Path:
    """The path that `text` means in a file in the folder `base`; symbolic links stay as they are."""
    try:
        expanded = Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError("expected a path in a home directory that is known") from error
    return Path(os.path.normpath(base / expanded))


def forward() -> Kind:
    """A forwarded port, `HOST:GUEST`."""

    def read(value: object, _place: Place) -> Forward:
        match = _FORWARD.fullmatch(value) if isinstance(value, str) else None
        if match is None or not all(1 <= int(port) <= LAST_PORT for port in match.groups()):
            raise ValueError('expected a port of the host and one of the guest, such as "8080:80"')
        return Forward(int(match[1]), int(match[2]))

    return Kind(
        read,
        {"type": "string", "pattern": r"^[0-9]{1,5}:[0-9]{1,5}$"},
        lambda value: f"{value.host_port}:{value.guest_port}",
    )


def list_of(kind: Kind, most: int | None = None) -> Kind:
    """A list, read to its end whatever its entries are, of at most so many."""

    def read(value: object, place: Place) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError("expected a list")  # noqa: TRY004  # as above
        if most is not None and len(value) > most:
            raise ValueError(f"expected at most {most} entries")
        return tuple(attempt(kind, entry, place.child(index)) for index, entry in enumerate(value))

    schema = {"type": "array", "items": dict(kind.schema)} | ({} if most is None else {"maxItems": most})
    return Kind(read, schema, lambda values: [kind.write(value) for value in values])


def mapping_of(kind: Kind, name: Kind) -> Kind:
    """A table whose keys the user chooses; None in the settings when it is empty."""

    def read(value: object, place: Place) -> dict[str, Any] | None:
        if not isinstance(value, dict):
            raise ValueError("expected a table")  # noqa: TRY004  # as above
        for key in value:
            attempt(name, key, place.child(key))
        return {key: attempt(kind, entry, place.child(key)) for key, entry in value.items()} or None

    return Kind(
        read,
        {"type": "object", "additionalProperties": dict(kind.schema)},
        lambda values: {key: kind.write(value) for key, value in (values or {}).items()},
    )


def _duration(seconds: float) -> str:
    return f"{seconds:g}s" if seconds >= _SECOND_S else f"{seconds * 1000:g}ms"


def _size(size_bytes: int) -> str:
    unit, factor = next((unit, factor) for unit, factor in _BYTES_UNITS if size_bytes % factor == 0)
    return f"{size_bytes // factor}{unit}"
