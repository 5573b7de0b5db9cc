from __future__ import annotations

import shlex

from nixvm_loop.errors import VerificationError
from nixvm_loop.model.settings import CheckSettings
from nixvm_loop.model.values import Check, Outcome
from nixvm_loop.verify import UserResult, failure, user_check

WEB = CheckSettings("web", command="curl -f localhost", timeout_s=3.0)
DISK = CheckSettings("disk", command="df /", required=True)


def made(check_id: str, outcome: Outcome, *, required: bool = True) -> Check:
    """A check with texts."""
    return Check(check_id, outcome, required, "A", "B", "C")


def test_a_command_that_exits_0_passes() -> None:
    """The exit status decides; the settings say whether it is required."""
    found = [user_check(WEB, UserResult(0, "exited", "fine\n")), user_check(DISK, UserResult(0, "exited", ""))]
    assert [(check.id, check.outcome, check.required) for check in found] == [
        ("web", Outcome.PASSED, False),
        ("disk", Outcome.PASSED, True),
    ]
    assert found[0].actual == "exit status 0: fine"


def test_any_other_end_fails() -> None:
    """Another status, a signal and time over are failures that say so."""
    results = [
        UserResult(7, "exited", "a\nrefused\n\n"),
        UserResult(None, "killed by a signal", ""),
        UserResult(None, "timed out", ""),
    ]
    actual = [user_check(WEB, result) for result in results]
    assert [check.actual for check in actual] == ["exit status 7: refused", "killed by a signal", "timed out after 3s"]
    assert {check.outcome for check in actual} == {Outcome.FAILED}


def test_the_hint_can_be_pasted() -> None:
    """What the hint says to run reaches the guest as it is, whatever the host's shell thinks of it."""
    check = user_check(CheckSettings("odd", command="test -e /a; echo 'b' > /c"), UserResult(1, "exited", ""))
    assert check.hint is not None
    words = shlex.split(check.hint.removeprefix("try it: "))
    assert words == ["nixvm-loop", "ssh", "test -e /a; echo 'b' > /c"]


def test_a_long_last_line_is_cut() -> None:
    """What a command says does not fill the screen."""
    check = user_check(WEB, UserResult(1, "exited", "x" * 10_000))
    assert check.actual is not None
    assert len(check.actual) < 300


def test_failure_names_all_and_explains_the_required_one() -> None:
    """The message leads with a required check; the others are in the details."""
    found = [
        made("optional", Outcome.FAILED, required=False),
        made("fine", Outcome.PASSED),
        made("unknown", Outcome.NOT_CHECKED),
        made("needed", Outcome.FAILED),
    ]
    error = failure(found)
    assert isinstance(error, VerificationError)
    assert error.message == "verification failed: needed, optional: expected A, got B"
    assert error.hint == "C"
    assert error.details == ("optional: expected A, got B",)


def test_no_failed_check_is_no_failure() -> None:
    """What was not checked did not fail."""
    assert failure([made("a", Outcome.PASSED), made("b", Outcome.NOT_CHECKED)]) is None
