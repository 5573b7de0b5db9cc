"""Single files that count wherever they are; links among them are followed."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from nixvm_loop.watch.content import content_id
from nixvm_loop.watch.ledger import Ledger
from nixvm_loop.watch.settle import Work

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet


class FileSet:
    """Few files, by absolute path. One that does not exist may come to exist."""

    root = ""

    def __init__(self, paths: Iterable[str]) -> None:
        self.ledger = Ledger()
        self._known = dict.fromkeys(paths, "")
        self._targets: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._known)

    def directories(self) -> AbstractSet[str]:
        """Where the files are, and where they are links to: a replaced file is only seen from its directory."""
        return frozenset(os.path.dirname(path) for path in self._watched())

    def hears(self, path: str) -> bool:
        """The files, and what they are links to."""
        return path in self._watched()

    def present(self) -> bool:
        """Always: a missing file is a content, too."""
        return True

    def work(self, now_s: float) -> Work:  # noqa: ARG002  # other trees need the time
        """Nothing tells who writes here."""
        return Work.NONE

    async def open(self) -> None:
        """Read the files."""
        await self.refresh(None)
        self.ledger.take()

    async def settle_baseline(self) -> None:
        """Nothing is left to do."""

    async def refresh(self, hints: frozenset[str] | None) -> None:
        """Note which files have other contents."""
        if hints is not None and not any(map(self.hears, hints)):
            return
        self._targets, contents = await asyncio.to_thread(self._look)
        for path, content in contents.items():
            self.ledger.note(path, self._known[path], content)
            self._known[path] = content

    async def reopen(self) -> None:
        """Read the files."""
        await self.refresh(None)

    def clear(self) -> None:
        """Note that none of the files count any more."""
        for path, content in self._known.items():
            self.ledger.note(path, content, None)
        self._known.clear()

    def _look(self) -> tuple[dict[str, str], dict[str, str]]:
        targets = {path: os.path.realpath(path) for path in self._known}
        return targets, {path: content_id(target) for path, target in targets.items()}

    def _watched(self) -> frozenset[str]:
        return frozenset(self._targets) | frozenset(self._targets.values())
