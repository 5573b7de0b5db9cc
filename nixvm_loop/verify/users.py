"""The user's own checks, and what failed checks amount to."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nixvm_loop.errors import VerificationError
from nixvm_loop.model.values import Check, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nixvm_loop.model.settings import CheckSettings

_TEXT_LIMIT: Final = 200


@dataclass(frozen=True, slots=True)
class UserResult:
    """What a user's command did in the guest; `exit_status` is None unless it exited, and `end` says what happened."""

    exit_status: int | None
    end: str
    output: str


def failure(checks: Iterable[Check]) -> VerificationError | None:
    """The error that names every failed check, required ones first; None when none failed."""
    failed = sorted(
        (check for check in checks if check.outcome is Outcome.FAILED), key=lambda check: not check.required
    )
    if not failed:
        return None
    first = failed[0]
    names = ", ".join(check.id for check in failed)
    return VerificationError(
        f"verification failed: {names}: expected {first.expected}, got {first.actual}",
        hint=first.hint,
        details=tuple(f"{check.id}: expected {check.expected}, got {check.actual}" for check in failed[1:]),
    )


def user_check(setting: CheckSettings, result: UserResult) -> Check:
    """The check for what a command of the user's did."""
    passed = result.exit_status == 0
    return Check(
        id=setting.name,
        outcome=Outcome.PASSED if passed else Outcome.FAILED,
        required=setting.required,
        expected="exit status 0",
        actual=_said(result, setting.timeout_s),
        hint=None if passed else f"try it: {shlex.join(['nixvm-loop', 'ssh', setting.command or ''])}",
    )


def _said(result: UserResult, timeout_s: float) -> str:
    end = result.end if result.exit_status is None else f"exit status {result.exit_status}"
    if end == "timed out":
        end = f"timed out after {timeout_s:g}s"
    last = next((line.strip() for line in reversed(result.output.splitlines()) if line.strip()), "")
    return f"{end}: {last[:_TEXT_LIMIT]}" if last else end
