"""How events are put into words, the same in every output for people. Pure, and all text comes out harmless."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from nixvm_loop.events.types import CheckFinished, DiagnosticSeen, ErrorInfo
from nixvm_loop.model.units import format_bytes, format_seconds
from nixvm_loop.present.sanitise import clean, clean_lines

if TYPE_CHECKING:
    from nixvm_loop.events.types import CycleFinished
    from nixvm_loop.model.values import Verdict

LINE_LIMIT = 500
MESSAGE_LIMIT = 4000
DETAIL_LINES = 60
_STORE_PATH = re.compile(r"/nix/store/[0-9a-z]{32}-")
_MINUTE_S = 60
_HOUR_S = 3600
_DAY_S = 86400


def short_name(derivation: str) -> str:
    """A derivation's or a path's name without the store's folder, hash and `.drv`."""
    return _STORE_PATH.sub("", clean(derivation, LINE_LIMIT)).removesuffix(".drv")


def problem_line(diagnostic: DiagnosticSeen) -> str:
    """The line that editors match: `path:line:col: error: message`."""
    place = f"{clean(diagnostic.file, MESSAGE_LIMIT)}:{diagnostic.line}:{diagnostic.column}"
    return f"{place}: {diagnostic.severity}: {clean(diagnostic.message, MESSAGE_LIMIT)}"


def cycle_started_line(number: int) -> str:
    """The line that opens a cycle for editors."""
    return f"nixvm-loop: cycle {number} started"


def cycle_finished_line(number: int, verdict: Verdict, seconds: float) -> str:
    """The line that closes a cycle for editors."""
    return f"nixvm-loop: cycle {number} {verdict} in {format_seconds(seconds)}"


def error_lines(error: ErrorInfo) -> list[str]:
    """An error to be read: message, details, and last, where the eye is, what to do."""
    lines = [f"error: {clean(error.message, MESSAGE_LIMIT)}"]
    lines += [f"  | {line}" for line in _details(error.details)]
    if error.hint is not None:
        lines.append(f"hint: {clean(error.hint, MESSAGE_LIMIT)}")
    return lines


def outcome_word(check: CheckFinished) -> str:
    """`ok`, `failed`, `warning` (a failure that is not required to pass) or `not checked`."""
    if check.ok is None:
        return "not checked"
    if check.ok:
        return "ok"
    return "failed" if check.required else "warning"


def outcome_details(check: CheckFinished) -> list[str]:
    """What was expected and seen and what to do, for a check that did not pass."""
    if check.ok:
        return []
    if check.ok is None:
        return [f"hint: {clean(check.hint, LINE_LIMIT)}"] if check.hint else []
    lines = [f"expected: {clean(check.expected, LINE_LIMIT)}"]
    lines.append(f"actual:   {'nothing' if check.actual is None else clean(check.actual, LINE_LIMIT)}")
    if check.hint:
        lines.append(f"hint:     {clean(check.hint, LINE_LIMIT)}")
    return lines


def age(seconds: float) -> str:
    """How long ago something was: `just now`, `5 minutes ago`."""
    if seconds < _MINUTE_S:
        return "just now"
    for size, word in ((_DAY_S, "day"), (_HOUR_S, "hour"), (_MINUTE_S, "minute")):
        count = int(seconds // size)
        if count:
            return f"{count} {word}{'' if count == 1 else 's'} ago"
    return "just now"


def outcome_of(event: CycleFinished) -> str:
    """The rest of a finished cycle's line: what was done, and which generation it gave."""
    parts = [] if event.action is None else [f"action {event.action}"]
    parts += [] if event.generation is None else [f"generation {event.generation}"]
    return ", ".join(parts)


def amount(done: int | None, expected: int | None) -> str:
    """Bytes done of bytes expected, as far as they are known."""
    if done is None:
        return format_bytes(expected) if expected else ""
    return f"{format_bytes(done)} of {format_bytes(expected)}" if expected else format_bytes(done)


def files_waiting(count: int) -> str:
    """That so many saved files wait."""
    return f"{count} saved {'file waits' if count == 1 else 'files wait'}"


def clean_error(error: ErrorInfo) -> ErrorInfo:
    """The error with harmless text of bounded length."""
    hint = None if error.hint is None else clean(error.hint, MESSAGE_LIMIT)
    return ErrorInfo(clean(error.message, MESSAGE_LIMIT), hint, _details(error.details))


def clean_check(check: CheckFinished) -> CheckFinished:
    """The check with harmless text of bounded length."""
    return replace(
        check,
        check=clean(check.check, LINE_LIMIT),
        expected=clean(check.expected, LINE_LIMIT),
        actual=None if check.actual is None else clean(check.actual, LINE_LIMIT),
        hint=None if check.hint is None else clean(check.hint, LINE_LIMIT),
    )


def clean_diagnostic(diagnostic: DiagnosticSeen) -> DiagnosticSeen:
    """The diagnostic with harmless text of bounded length."""
    return replace(
        diagnostic,
        file=clean(diagnostic.file, MESSAGE_LIMIT),
        message=clean(diagnostic.message, MESSAGE_LIMIT),
    )


def _details(details: tuple[str, ...]) -> tuple[str, ...]:
    # The end of a log says most, so the last lines are kept.
    lines = [line for detail in details for line in clean_lines(detail, LINE_LIMIT, DETAIL_LINES)]
    return tuple(lines[-DETAIL_LINES:])
