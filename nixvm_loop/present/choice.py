"""How outputs are chosen."""

from __future__ import annotations

from enum import Enum, StrEnum


class Output(StrEnum):
    """The forms that output takes; `AUTO` is `LIVE` on a terminal and `PLAIN` elsewhere."""

    AUTO = "auto"
    LIVE = "live"
    PLAIN = "plain"
    JSON = "json"


class Verbosity(Enum):
    """How much is said beside results; `VERBOSE` adds build logs and the guest's console."""

    NORMAL = 0
    VERBOSE = 1
