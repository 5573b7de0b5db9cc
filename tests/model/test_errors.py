from __future__ import annotations

import copy
import pickle

import pytest

from nixvm_loop import errors
from nixvm_loop.errors import NixvmLoopError


def tree(cls: type[NixvmLoopError]) -> list[type[NixvmLoopError]]:
    return [cls, *(below for child in cls.__subclasses__() for below in tree(child))]


CODES = {
    "NixvmLoopError": 1,
    "UsageError": 2,
    "ConfigError": 2,
    "BuildError": 3,
    "GenerationError": 4,
    "DomainError": 5,
    "GuestError": 6,
    "BootError": 6,
    "ConnectionLostError": 6,
    "OperatorStopError": 6,
    "HostFaultError": 6,
    "HostKeyError": 6,
    "AccessError": 6,
    "PinnedKeyError": 6,
    "VerificationError": 7,
    "SwitchError": 7,
    "OutputError": 8,
    "InterruptedByUser": 130,
}


def test_exit_codes() -> None:
    """The exit codes are those that scripts rely on, and every class has one."""
    named = {cls.__name__: cls.exit_code for cls in tree(NixvmLoopError) if cls.__module__ == errors.__name__}
    assert named == CODES


def test_the_tree_in_the_docstring() -> None:
    """The tree at the top of the module lists every class with its code."""
    lines = [line.strip("│├└─ ").split() for line in (errors.__doc__ or "").splitlines()]
    assert {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdigit()} == CODES


@pytest.mark.parametrize("make", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])  # noqa: S301  # our own
def test_an_error_survives_copies(make: object) -> None:
    """Hint and details are kept when an error is copied or pickled."""
    assert callable(make)
    error = make(errors.ConfigError("message", hint="hint", details=("one", "two")))
    assert (type(error), str(error)) == (errors.ConfigError, "message")
    assert (error.message, error.hint, error.details) == ("message", "hint", ("one", "two"))
