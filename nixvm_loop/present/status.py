"""What the `status` command says, as plain text (no terminal library is loaded for it)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixvm_loop.model.units import format_bytes
from nixvm_loop.present.sanitise import clean
from nixvm_loop.present.words import LINE_LIMIT, age

if TYPE_CHECKING:
    from nixvm_loop.events.types import Status

LABEL_WIDTH = 13


def lines(status: Status, guest: str | None) -> list[tuple[str, str]]:
    """Label and text of each line, in order; what is not known is said to be unknown, what cannot be is left out."""
    pairs = [
        ("guest", guest or "unknown"),
        ("domain", _domain(status)),
        ("generation", _generation(status)),
        ("booted", _booted(status)),
        ("last cycle", _last_cycle(status)),
    ]
    if status.last_error is not None:
        pairs.append(("last error", status.last_error))
    pairs.append(("store layer", _store(status)))
    if status.holder is not None:
        pairs.append(("held by", status.holder))
    return [(label, clean(text, LINE_LIMIT)) for label, text in pairs]


def text(status: Status, guest: str | None) -> str:
    """All lines with aligned labels, without a final line break."""
    return "\n".join(f"{label:<{LABEL_WIDTH}}{value}" for label, value in lines(status, guest))


def _domain(status: Status) -> str:
    if status.domain_error is not None:
        return f"{status.domain}: {status.state} ({status.domain_error})"
    return f"{status.domain}: {status.state}"


def _generation(status: Status) -> str:
    if status.current is None and status.built is None:
        return "none yet"
    said = f"built {_number(status.built)}, current {_number(status.current)}, booted {_number(status.booted)}"
    switched = status.runs_system is not None and status.runs_system != status.booted_system
    if status.booted_system is not None and status.runs_system is None:
        return f"{said}, what runs since a switch is not known"
    return f"{said}, switched to {_number(status.runs)}" if switched else said


def _booted(status: Status) -> str:
    system = status.booted_system or "unknown system"
    if status.booted_age_seconds is None:
        return system if status.booted_system else "never seen"
    return f"{system}, seen {age(status.booted_age_seconds)}"


def _last_cycle(status: Status) -> str:
    if status.last_cycle is None:
        return "none yet"
    when = "" if status.last_cycle_age_seconds is None else f", {age(status.last_cycle_age_seconds)}"
    return f"{status.last_cycle} {status.last_verdict or 'unfinished'}{when}"


def _store(status: Status) -> str:
    if status.store_used_bytes is None or not status.store_size_bytes:
        return "unknown"
    share = status.store_used_bytes / status.store_size_bytes
    said = f"{format_bytes(status.store_used_bytes)} of {format_bytes(status.store_size_bytes)} used ({share:.0%})"
    if status.store_used_inodes is not None and status.store_inodes:
        said += f", {status.store_used_inodes / status.store_inodes:.0%} of the inodes"
    if status.store_grown_bytes is not None and status.store_grown_bytes > 0:
        said += f", {format_bytes(status.store_grown_bytes)} more since the last cycle"
    return f"{said}; nearly full: nixvm-loop doctor names what fills it" if status.store_nearly_full else said


def _number(generation: int | None) -> str:
    return "unknown" if generation is None else str(generation)
