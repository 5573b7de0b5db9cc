"""Real trees in real git repositories, and a watcher on them."""

from __future__ import annotations

import asyncio
import os
import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.model.clock import SystemClock
from nixvm_loop.model.settings import WatchSettings
from nixvm_loop.model.sources import SourceKind, SourceRoot
from nixvm_loop.watch import Watched, Watcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from nixvm_loop.events.types import Event

_PATIENCE_S = 15.0


def git(root: Path, *arguments: str, stdin: str = "") -> str:
    """Run git as nobody in particular."""
    env = os.environ | {
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        **{f"GIT_{role}_{what}": "a@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    argv = ("git", "-c", "protocol.file.allow=always", "-C", str(root), *arguments)
    return subprocess.run(argv, check=True, env=env, capture_output=True, text=True, input=stdin).stdout


def write(root: Path, *paths: str, text: str = "{ }\n") -> None:
    """Write files, with the directories above them."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


def commit(root: Path) -> None:
    """Commit everything."""
    git(root, "add", ".")
    git(root, "commit", "-qm", "a change")


@dataclass
class Watch:
    """A started watcher, and what it said beside the changes."""

    watcher: Watcher
    watched: Watched
    events: list[Event] = field(default_factory=list)
    untracked: list[Path] = field(default_factory=list)

    async def next(self) -> set[Path]:
        """The next change set, within bounds."""
        return set((await asyncio.wait_for(self.watcher.next(), _PATIENCE_S)).paths)

    async def until(self, said: Callable[[Watch], bool]) -> None:
        """Let the watcher work until it has said something that is no change."""
        work = asyncio.create_task(self.watcher.next())
        async with asyncio.timeout(_PATIENCE_S):
            while not said(self):
                assert not work.done(), work.result()
                await asyncio.sleep(0.005)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


@asynccontextmanager
async def _watching(*roots: SourceRoot | Path, settings: WatchSettings | None = None) -> AsyncIterator[Watch]:
    events: list[Event] = []
    untracked: list[Path] = []
    sources = tuple(root if isinstance(root, SourceRoot) else SourceRoot(root, SourceKind.GIT) for root in roots)
    watcher = Watcher(
        sources,
        settings or WatchSettings(),
        clock=SystemClock(),
        emit=events.append,
        on_untracked=untracked.extend,
    )
    async with watcher:
        yield Watch(watcher, await watcher.start(), events, untracked)


@dataclass(frozen=True)
class Kit:
    """What the tests of this room share."""

    root: Path

    git = staticmethod(git)
    write = staticmethod(write)
    commit = staticmethod(commit)
    watching = staticmethod(_watching)

    def folder(self) -> SourceRoot:
        """The root as a flake outside of git."""
        return SourceRoot(self.root, SourceKind.FOLDER)

    def paths(self, *relative: str) -> set[Path]:
        """Absolute paths in the root."""
        return {self.root / path for path in relative}


@pytest.fixture
def repo(tmp_path: Path) -> Kit:
    """A small flake in git."""
    root = tmp_path / "flake"
    write(root, "flake.nix", "modules/a.nix", "modules/b.nix", "marker.nix")
    git(root, "init", "-q", "-b", "main")
    commit(root)
    return Kit(root)


@pytest.fixture
def folder(tmp_path: Path) -> Kit:
    """A small flake outside of git."""
    root = tmp_path / "plain"
    write(root, "flake.nix", "modules/a.nix", "marker.nix")
    return Kit(root)
