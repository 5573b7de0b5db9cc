"""What the `verify` command says, as plain text: one line a check, and what to do about those that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixvm_loop.present.sanitise import clean
from nixvm_loop.present.words import LINE_LIMIT, outcome_details, outcome_word

if TYPE_CHECKING:
    from nixvm_loop.events.types import CheckFinished

_OUTCOME_WIDTH = 13
_ID_WIDTH = 22


def row(check: CheckFinished) -> tuple[str, str, str]:
    """Outcome, check id and what was seen."""
    seen = "" if check.ok is not True or check.actual is None else clean(check.actual, LINE_LIMIT)
    return outcome_word(check), clean(check.check, LINE_LIMIT), seen


def check_lines(check: CheckFinished) -> list[str]:
    """A check's line, and below it the details if it did not pass."""
    outcome, name, seen = row(check)
    indent = " " * _OUTCOME_WIDTH
    head = f"{outcome:<{_OUTCOME_WIDTH}}{name:<{_ID_WIDTH}}{seen}".rstrip()
    return [head, *(f"{indent}{line}" for line in outcome_details(check))]
