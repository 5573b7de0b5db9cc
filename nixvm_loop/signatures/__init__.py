"""Log patterns as data: what a line of a log means, and what to do about it."""

from __future__ import annotations

from typing import Final

from nixvm_loop.signatures import console, libvirt
from nixvm_loop.signatures.console import UNEXPLAINED
from nixvm_loop.signatures.kernelclock import KernelClock, plain
from nixvm_loop.signatures.pattern import Found, Signature, Source

__all__ = ["SIGNATURES", "UNEXPLAINED", "Found", "KernelClock", "Signature", "Source", "find", "tells_more"]

# Longer than any line that means something, and short enough for every pattern.
_LOOKED_AT: Final = 2000

SIGNATURES: Final = (*console.CONSOLE, *console.CLUES, *console.MILESTONES, *libvirt.LIBVIRT)


def find(source: Source, line: str) -> Found | None:
    """What a line of `source` means, by the first signature that it matches; None for nothing known.

    A console's line may hold control sequences; they are passed over. Of a very long line, its beginning counts.
    """
    line = plain(line[:_LOOKED_AT])
    for one in SIGNATURES:
        if one.source is source and (match := one.pattern.search(line)) is not None:
            groups = {name: (text or "").strip() for name, text in match.groupdict().items()}
            return Found(one, one.cause.format(**groups).rstrip(), one.fix.format(**groups), groups)
    return None


def tells_more(clue: Found, than: Found) -> bool:
    """Whether a clue is nearer to a failure's cause than another one; the first of a kind is."""
    order = [one.id for one in console.CLUES]
    return order.index(clue.id) < order.index(than.id)
