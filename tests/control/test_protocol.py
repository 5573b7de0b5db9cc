from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixvm_loop.control import FollowConsole, Rebuild, Rollback, Standing
from nixvm_loop.control.protocol import (
    REQUEST_LIMIT_BYTES,
    Done,
    Failed,
    Greeting,
    decode_answer,
    decode_greeting,
    decode_request,
    encode_answer,
    encode_greeting,
    encode_request,
    error_of,
    failed,
    fingerprint,
)
from nixvm_loop.decide import Wish
from nixvm_loop.errors import BuildError, GuestError, InterruptedByUser, NixvmLoopError, VerificationError
from nixvm_loop.events.types import ErrorInfo
from nixvm_loop.model.values import Stage
from tests.control.support import settings_for

if TYPE_CHECKING:
    from nixvm_loop.control.orders import Request

SETTINGS = settings_for(Path("/state"))


@pytest.mark.parametrize(
    "request_",
    [Rebuild(), Rebuild(Wish.RESTART), Rollback(), Rollback(7), FollowConsole()],
    ids=repr,
)
def test_requests_arrive_as_they_were_sent(request_: Request) -> None:
    """Each is one short line."""
    line = encode_request(request_)
    assert line.index(b"\n") == len(line) - 1
    assert decode_request(line) == request_


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"rebuild\n",
        b"\xff\xfe\n",
        b"null\n",
        b"[" * (REQUEST_LIMIT_BYTES - 1) + b"\n",
        b"7" * (REQUEST_LIMIT_BYTES - 1) + b"\n",
        b'{"request":"rebuild","wish":"restart"}\n',
        b'{"protocol":2,"request":"rebuild","wish":"restart"}\n',
        b'{"protocol":1}\n',
        b'{"protocol":1,"request":["rebuild"]}\n',
        b'{"protocol":1,"request":"rebuild"}\n',
        b'{"protocol":1,"request":"rebuild","wish":true}\n',
        b'{"protocol":1,"request":"rebuild","wish":"__class__"}\n',
        b'{"protocol":1,"request":"rollback","generation":true}\n',
        b'{"protocol":1,"request":"rollback","generation":0}\n',
        b'{"protocol":1,"request":"rollback","generation":"../7"}\n',
        b'{"protocol":1,"request":"rollback","generation":1e3}\n',
        b'{"protocol":1,"request":"rollback","generation":99999999999}\n',
    ],
)
def test_what_is_no_request_is_refused(line: bytes) -> None:
    """Whatever comes, it is a request or a ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011  # the message is the JSON reader's or ours
        decode_request(line)


@given(cycle=st.none() | st.integers(1, 10**6), stage=st.none() | st.sampled_from(Stage))
def test_greetings_tell_where_watch_is(cycle: int | None, stage: Stage | None) -> None:
    """Cycle and stage, each or neither, come across."""
    greeting = Greeting("abc", Standing(cycle, stage, paused=cycle is None))
    assert decode_greeting(encode_greeting(greeting)) == greeting


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b'{"protocol":2,"settings":"a","cycle":null,"stage":null}\n',
        b'{"protocol":1,"settings":7,"cycle":null,"stage":null}\n',
        b'{"protocol":1,"settings":"a","cycle":"7","stage":null}\n',
        b'{"protocol":1,"settings":"a","cycle":7,"stage":"nap"}\n',
        b'{"protocol":1,"settings":"a","cycle":7,"stage":[]}\n',
    ],
)
def test_what_is_no_greeting_is_refused(line: bytes) -> None:
    """Somebody who speaks another language is not our watch."""
    with pytest.raises(ValueError):  # noqa: PT011  # as above
        decode_greeting(line)


@given(
    message=st.text(),
    hint=st.none() | st.text(min_size=1),
    details=st.lists(st.text()),
    code=st.integers(1, 130),
)
def test_answers_arrive_as_they_were_sent(message: str, hint: str | None, details: list[str], code: int) -> None:
    """Any text of any log is one line of ASCII."""
    answer = Failed(ErrorInfo(message, hint, tuple(details)), code)
    line = encode_answer(answer)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert decode_answer(line) == answer
    assert decode_answer(encode_answer(Done())) == Done()


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"\xff\n",
        b'{"schema":1}\n',
        b'{"protocol":1}\n',
        b'{"protocol":1,"answer":"failed"}\n',
        b'{"protocol":1,"answer":"failed","exit_code":"6","message":"x","details":[]}\n',
        b'{"protocol":1,"answer":"failed","exit_code":6,"message":null,"details":[]}\n',
    ],
)
def test_what_is_no_answer_is_refused(line: bytes) -> None:
    """Whatever comes, it is an answer or a ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011  # as above
        decode_answer(line)


@pytest.mark.parametrize("cls", [NixvmLoopError, BuildError, GuestError, VerificationError, InterruptedByUser])
def test_errors_keep_their_exit_code(cls: type[NixvmLoopError]) -> None:
    """What one process failed with, the other fails with."""
    answer = failed(cls("no", hint="look", details=("a", "b")))
    error = error_of(answer.error, answer.exit_code)
    assert (type(error), error.message, error.hint, error.details) == (cls, "no", "look", ("a", "b"))


def test_settings_are_told_apart() -> None:
    """The same settings have the same fingerprint in every process, others have another; it gives nothing away."""
    print_ = fingerprint(SETTINGS)
    assert print_ == fingerprint(settings_for(Path("/state")))
    assert print_ != fingerprint(dataclasses.replace(SETTINGS, keep=3))
    assert print_.isalnum()
    assert json.loads(encode_greeting(Greeting(print_, Standing())))["settings"] == print_
