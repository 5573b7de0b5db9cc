"""What a signature is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum


class Source(StrEnum):
    """Whose words a pattern is for.

    Of the console's words, some end a boot, some may explain its end (clues), and some show its success (milestones).
    """

    CONSOLE = "console"
    CONSOLE_CLUE = "console clue"
    CONSOLE_MILESTONE = "console milestone"
    NIX = "nix"
    LIBVIRT = "libvirt"
    VIRTIOFSD = "virtiofsd"
    KERNEL = "kernel"


@dataclass(frozen=True, slots=True)
class Signature:
    """A pattern and its meaning.

    Attributes:
        pattern: Searched for anywhere in a line, or in a whole message of libvirt's.
        cause: What it means, without a full stop; `{name}` stands for the pattern's group of that name.
        fix: What to do, likewise.
    """

    id: str
    source: Source
    pattern: re.Pattern[str]
    cause: str
    fix: str


@dataclass(frozen=True, slots=True)
class Found:
    """A signature that a line matched, with its words filled in."""

    signature: Signature
    cause: str
    fix: str
    groups: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The signature's id."""
        return self.signature.id


def signature(name: str, source: Source, pattern: str, cause: str, fix: str) -> Signature:
    """A signature whose pattern is `pattern`."""
    return Signature(name, source, re.compile(pattern, re.DOTALL), cause, fix)
