"""What the `doctor` command says, as plain text: one line a probe, and below it what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nixvm_loop.present.sanitise import clean
from nixvm_loop.present.words import LINE_LIMIT, MESSAGE_LIMIT

if TYPE_CHECKING:
    from nixvm_loop.events.findings import Finding, ProbeFinished

_OUTCOME_WIDTH: Final = 14
_AREA_WIDTH: Final = 8
_PROBE_WIDTH: Final = 14


def probe_line(event: ProbeFinished) -> str:
    """Outcome, area, probe, and what it saw."""
    probe = f"{clean(event.probe, LINE_LIMIT):<{_PROBE_WIDTH}}"
    said = clean(event.said, LINE_LIMIT)
    return f"{event.outcome:<{_OUTCOME_WIDTH}}{event.area:<{_AREA_WIDTH}}{probe}{said}".rstrip()


def finding_lines(event: Finding) -> list[str]:
    """Id and cause, then what shows it, what to do, and where to read more."""
    more = (("evidence", event.evidence), ("fix", event.fix), ("see", event.link))
    head = f"{event.severity}: {clean(event.id, LINE_LIMIT)}: {clean(event.message, MESSAGE_LIMIT)}"
    return [head, *(f"  {label}: {clean(text, MESSAGE_LIMIT)}" for label, text in more if text is not None)]
