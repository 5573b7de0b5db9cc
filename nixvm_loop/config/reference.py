"""What config.example.toml, the whole reference, says of each key: the one source of these texts."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

# In the package it is a link to the file at the top of the repository, which a wheel holds as a file of its own.
_FILE: Final = Path(__file__).with_name("config.example.toml")
_HEADER: Final = re.compile(r"(?:# )?\[+guests\.demo(?:\.(?P<table>[\w.]+))?\]+")
_KEY: Final = re.compile(r"# (?P<name>[a-z_]+) = (?P<default>.*)")


@dataclass(frozen=True, slots=True)
class Entry:
    """A key: the comment lines above it, and its default as it is written."""

    comment: tuple[str, ...]
    default: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the guest: the comment lines above its header, and its keys."""

    comment: tuple[str, ...]
    keys: dict[str, Entry] = field(default_factory=dict)


@cache
def reference() -> dict[str, Table]:
    """The reference's tables by their names below the guest's; the guest's own keys are in the table ""."""
    tables: dict[str, Table] = {}
    above: list[str] = []
    table = Table(())
    for line in _FILE.read_text(encoding="utf-8").splitlines():
        if header := _HEADER.fullmatch(line):
            table = tables[header["table"] or ""] = Table(tuple(above))
        elif key := _KEY.fullmatch(line):
            table.keys[key["name"]] = Entry(tuple(above), key["default"])
        elif line.startswith("#"):
            above.append(line)
            continue
        above = []
    return tables
