"""Says, to whoever listens to this module's logger, when we waited for others: for a child, libvirt or the guest."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGGER: Final = "nixvm_loop.spans"

_log = logging.getLogger(LOGGER)


class SpanKind(StrEnum):
    """Whom we waited for."""

    PROCESS = "process"
    LIBVIRT = "libvirt"
    SSHD = "sshd"
    HANDSHAKE = "handshake"
    COMMAND = "command"
    STORE_VIEW = "store view"


@dataclass(frozen=True, slots=True)
class Span:
    """A finished wait; the times are `time.monotonic`'s."""

    kind: SpanKind
    what: str
    began_s: float
    ended_s: float


@contextmanager
def span(kind: SpanKind, what: str) -> Iterator[None]:
    """Log the block as one `Span`, at level DEBUG; where that is off (the default) nothing is measured."""
    if not _log.isEnabledFor(logging.DEBUG):
        yield
        return
    began_s = time.monotonic()
    try:
        yield
    finally:
        _log.debug("%s", Span(kind, what, began_s, time.monotonic()))
