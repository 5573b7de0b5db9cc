"""What a probe is, what it may find, and what comes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from nixvm_loop.model.values import ProbeOutcome, Severity

if TYPE_CHECKING:
    from nixvm_loop.doctor.patient import Patient
    from nixvm_loop.model.values import Area


class NotPossibleError(Exception):
    """What a probe asks did not answer, or is not there to be asked; the text says which and why."""


class Remedy(Enum):
    """What may be done."""

    DROP_CACHES = "have the guest forget what it knows of its files"
    RESUME = "let the domain go on:"
    START_NETWORK = "start libvirt's network"


@dataclass(frozen=True, slots=True)
class Cure:
    """A remedy, and what it is for."""

    remedy: Remedy
    target: str = ""

    def __str__(self) -> str:
        """What would be changed, as the question names it."""
        return f"{self.remedy.value} {self.target}".rstrip()


@dataclass(frozen=True, slots=True)
class Found:
    """Something that is wrong.

    Attributes:
        id: Heads the section of docs/troubleshooting.md that is about it; never renamed.
        evidence: The line or value that shows it, and where it is from.
        cause: What it means, without a full stop.
        cure: What `--fix` can do about it, if that is safe.
    """

    id: str
    severity: Severity
    evidence: str
    cause: str
    fix: str
    cure: Cure | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a probe saw, in a few words, and what it found.

    Attributes:
        exit_code: Of an error among it, where that is not the probe's.
    """

    said: str
    found: tuple[Found, ...] = ()
    exit_code: int | None = None


Look: TypeAlias = Callable[["Patient"], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Probe:
    """One question.

    Attributes:
        exit_code: What `doctor` exits with when this finds an error, and none before it does.
    """

    area: Area
    name: str
    look: Look
    exit_code: int


@dataclass(frozen=True, slots=True)
class Report:
    """How a probe ended; `said` is why, where it was not possible.

    Attributes:
        exit_code: What this asks `doctor` to exit with: 0 unless it found an error.
    """

    probe: Probe
    outcome: ProbeOutcome
    said: str
    found: tuple[Found, ...] = ()
    exit_code: int = 0

    @classmethod
    def of(cls, probe: Probe, answer: Answer) -> Report:
        """The report of a probe that could look."""
        outcome = ProbeOutcome.FINDING if answer.found else ProbeOutcome.OK
        code = answer.exit_code or probe.exit_code
        is_error = any(one.severity is Severity.ERROR for one in answer.found)
        return cls(probe, outcome, answer.said, answer.found, code if is_error else 0)
