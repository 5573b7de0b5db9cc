from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.checkout import PYTHONPATH, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's runtime directory."""
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The guest's state directory."""
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


@pytest.fixture
def other_watch(state: Path) -> Callable[..., AbstractContextManager[subprocess.Popen[str]]]:
    """Starts a `watch` in another process, which is killed at the end."""

    @contextmanager
    def start(delay_s: float = 0.0, guest: Path = state) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.control.support", str(guest), str(delay_s)],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": PYTHONPATH}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "serving\n"
            yield process
        finally:
            process.kill()
            process.communicate()

    return start
