"""An error of Nix as it travels from the log to the user: text, place and trace, as Nix gave them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a file as Nix names it (a store path, a real one, or something in «»). `column` may be 0."""

    file: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class NixError:
    """One error message, free of escape sequences.

    Attributes:
        text: What happened, without `error:`, trace and source excerpt; may have several lines.
        full: Everything Nix said of it, for logs.
        trace: The places on the way to the error, nearest first.
    """

    text: str
    full: str
    place: Place | None = None
    trace: tuple[Place, ...] = ()
