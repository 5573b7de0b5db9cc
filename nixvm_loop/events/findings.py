"""What `doctor` tells: each probe's end, and each finding."""

from __future__ import annotations

from dataclasses import dataclass

from nixvm_loop.model.values import Area, ProbeOutcome, Severity  # noqa: TC001  # the decoder reads the annotations


@dataclass(frozen=True, slots=True)
class ProbeFinished:
    """A probe ended; `said` is what it saw, or why it could not look."""

    area: Area
    probe: str
    outcome: ProbeOutcome
    said: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a probe found.

    Attributes:
        message: The cause, in a sentence.
        evidence: The line or value that shows it, and where it is from.
        link: The section of the project's documentation that is about it.
    """

    id: str
    severity: Severity
    message: str
    fix: str | None
    evidence: str | None = None
    link: str | None = None
