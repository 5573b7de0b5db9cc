"""What passes through the socket: one JSON object a line. Pure.

The server speaks first: a greeting. The client may leave with that, or ask for one thing. The answer is events, in the
encoding of `events.codec`, and after them `done` or `failed`. What ends before that was cut off.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from nixvm_loop import __version__
from nixvm_loop.control.orders import FollowConsole, Rebuild, Rollback, Standing
from nixvm_loop.decide import Wish
from nixvm_loop.errors import (
    BuildError,
    DomainError,
    GenerationError,
    GuestError,
    InterruptedByUser,
    NixvmLoopError,
    UsageError,
    VerificationError,
)
from nixvm_loop.events.codec import decode
from nixvm_loop.events.types import ErrorInfo, Stamped
from nixvm_loop.model.values import Stage

if TYPE_CHECKING:
    from nixvm_loop.control.orders import Request
    from nixvm_loop.model.settings import GuestSettings

PROTOCOL: Final = 1
REQUEST_LIMIT_BYTES: Final = 4096
LINE_LIMIT_BYTES: Final = 1 << 20

_HIGHEST_GENERATION: Final = 10**9
_ANSWER_STARTS: Final = b'{"protocol":'
_ERRORS: Final = {
    cls.exit_code: cls
    for cls in (
        NixvmLoopError,
        UsageError,
        BuildError,
        GenerationError,
        DomainError,
        GuestError,
        VerificationError,
        InterruptedByUser,
    )
}


@dataclass(frozen=True, slots=True)
class Greeting:
    """The server's first line; `settings` is the fingerprint of those it works with."""

    settings: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class Done:
    """The request was served."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The request could not be served; an answer that says so may come before or after events."""

    error: ErrorInfo
    exit_code: int


Answer: TypeAlias = Stamped | Done | Failed


def fingerprint(settings: GuestSettings) -> str:
    """The same for the same settings, read by the same version."""
    return hashlib.sha256(f"{__version__} {settings!r}".encode()).hexdigest()[:32]


def error_of(error: ErrorInfo, exit_code: int) -> NixvmLoopError:
    """The error as it was raised on the other side, as far as its exit code tells the class."""
    cls = _ERRORS.get(exit_code, NixvmLoopError)
    return cls(error.message, hint=error.hint, details=tuple(error.details))


def failed(error: NixvmLoopError) -> Failed:
    """The answer that tells an error."""
    return Failed(ErrorInfo(error.message, error.hint, error.details), error.exit_code)


def encode_greeting(greeting: Greeting) -> bytes:
    """A line."""
    return _line({"settings": greeting.settings, **asdict(greeting.standing)})


def decode_greeting(line: bytes) -> Greeting:
    """The greeting of a line; raises ValueError when it is none, or one of another protocol."""
    value = _object(line)
    settings, cycle, stage = value.get("settings"), value.get("cycle"), value.get("stage")
    if not isinstance(settings, str) or not (cycle is None or _is_number(cycle)):
        raise ValueError("not a greeting")
    return Greeting(
        settings, Standing(cycle, None if stage is None else Stage(stage), paused=value.get("paused") is True)
    )


def encode_request(request: Request) -> bytes:
    """A line."""
    match request:
        case Rebuild(wish):
            return _line({"request": "rebuild", "wish": wish.name.lower()})
        case Rollback(generation):
            return _line({"request": "rollback", "generation": generation})
        case FollowConsole():
            return _line({"request": "console"})


def decode_request(line: bytes) -> Request:
    """The request of a line; raises ValueError when it is none."""
    value = _object(line)
    match value.get("request"):
        case "rebuild":
            return Rebuild(_wish(value.get("wish")))
        case "rollback":
            generation = value.get("generation")
            if generation is not None and not _is_number(generation):
                raise ValueError("a generation is a number")
            return Rollback(generation)
        case "console":
            return FollowConsole()
        case _:
            raise ValueError("not a known request")


def encode_answer(answer: Done | Failed) -> bytes:
    """A line; events have their own encoding."""
    match answer:
        case Done():
            return _line({"answer": "done"})
        case Failed(error, exit_code):
            return _line({"answer": "failed", "exit_code": exit_code, **asdict(error)})


def decode_answer(line: bytes) -> Answer:
    """The answer of a line; raises ValueError when it is none."""
    if not line.startswith(_ANSWER_STARTS):
        return decode(line.decode())
    value = _object(line)
    match value:
        case {"answer": "done"}:
            return Done()
        case {"answer": "failed", "exit_code": int(code), "message": str(message), "details": list(details)}:
            hint = value.get("hint")
            return Failed(ErrorInfo(message, hint and str(hint), tuple(map(str, details))), code)
        case _:
            raise ValueError("not a known answer")


def _wish(name: object) -> Wish:
    found = next((wish for wish in Wish if wish.name.lower() == name), None)
    if found is None:
        raise ValueError("not a known wish")
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < _HIGHEST_GENERATION


def _line(value: dict[str, Any]) -> bytes:
    # ASCII throughout, so that even half a character of somebody's log gets across.
    return json.dumps({"protocol": PROTOCOL, **value}, separators=(",", ":")).encode() + b"\n"


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict) or value.get("protocol") != PROTOCOL:
        raise ValueError(f"not protocol {PROTOCOL}")
    return value
