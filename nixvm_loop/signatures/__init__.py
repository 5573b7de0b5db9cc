"""Log patterns as data: what a line of a log means, and what to do about it."""

from __future__ import annotations

from typing import Final

from nixvm_loop.signatures import console, host, libvirt, nix
from nixvm_loop.signatures.console import UNEXPLAINED
from nixvm_loop.signatures.kernelclock import KernelClock, plain
from nixvm_loop.signatures.pattern import Found, Signature, Source

__all__ = [
    "SIGNATURES",
    "UNEXPLAINED",
    "Found",
    "KernelClock",
    "Signature",
    "Source",
    "find",
    "find_in_text",
    "tells_more",
    "weight",
]

# Longer than any line that means something, and short enough for every pattern.
_LOOKED_AT: Final = 2000
_TEXT_LOOKED_AT: Final = 20_000

SIGNATURES: Final = (
    *console.CONSOLE,
    *console.CLUES,
    *console.MILESTONES,
    *libvirt.LIBVIRT,
    *host.HOST,
    *nix.NIX,
)


def find(source: Source, line: str) -> Found | None:
    """What a line of `source` means, by the first signature that it matches; None for nothing known.

    A console's line may hold control sequences; they are passed over. Of a very long line, its beginning counts.
    """
    return find_in_text(source, plain(line[:_LOOKED_AT]))


def find_in_text(source: Source, text: str) -> Found | None:
    """What a text of several lines means, by the first signature that matches any of it."""
    for one in SIGNATURES:
        if one.source is source and (match := one.pattern.search(text[:_TEXT_LOOKED_AT])) is not None:
            groups = {name: (words or "").strip() for name, words in match.groupdict().items()}
            return Found(one, one.cause.format(**groups).rstrip(), one.fix.format(**groups), groups)
    return None


def weight(clue: Found) -> int:
    """The smaller, the nearer to a failure's cause."""
    return [one.id for one in console.CLUES].index(clue.id)


def tells_more(clue: Found, than: Found) -> bool:
    """Whether a clue is nearer to a failure's cause than another one; the first of a kind is."""
    return weight(clue) < weight(than)
