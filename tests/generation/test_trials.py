from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nixvm_loop.errors import GuestError
from nixvm_loop.generation.store import Generations
from nixvm_loop.generation.trials import failed_trial
from nixvm_loop.model.values import Artifacts

if TYPE_CHECKING:
    from pathlib import Path

FAILURE = {"exit_code": 6, "message": "it panicked", "under": "these"}
PASSED = {"verdict": "ok", "verified": "2026-01-01T00:00:00+00:00"}


@pytest.mark.parametrize(
    ("about", "known"),
    [
        ({}, False),
        ({"failure": None}, False),
        ({"failure": FAILURE}, True),
        ({"failure": FAILURE | {"under": "others"}}, False),
        # It has passed before: trouble of another kind may be over.
        ({"failure": FAILURE} | PASSED, False),
        ({"failure": FAILURE} | PASSED | {"verified_under": "these"}, False),
        # It only ever passed with another machine, or another config.
        ({"failure": FAILURE} | PASSED | {"verified_under": "the former"}, True),
        # Edited by hand.
        ({"failure": "yes"}, False),
        ({"failure": FAILURE | {"exit_code": 99}}, False),
    ],
)
def test_what_is_not_tried_again(tmp_path: Path, about: dict[str, Any], known: bool) -> None:  # noqa: FBT001  # the expectation
    """Just the system that failed, in just the circumstances that it failed in."""
    generations = Generations(tmp_path)
    generations.prepare()
    store = tmp_path / "store"
    artifacts = Artifacts(store, store / "kernel", store / "initrd", (), "x")
    generations.write(generations.slot(), artifacts, "quiet", about)
    found = failed_trial(generations, artifacts, "quiet", "these")
    assert (found is not None) is known
    assert failed_trial(generations, artifacts, "quiet more", "these") is None
    if found is not None:
        assert isinstance(found.again(), GuestError)
        assert "it panicked" in found.again().message
