"""What to do about failures that Nix explains in its own words only; the patterns are with the other signatures."""

from __future__ import annotations

from nixvm_loop import signatures


def advice(text: str) -> str | None:
    """The fix for a message, if it is a known one."""
    known = signatures.find_in_text(signatures.Source.NIX, text)
    return known.fix if known is not None else None
