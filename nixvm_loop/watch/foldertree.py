"""A flake outside git, or a folder that the user named: all of its files count, but for the ignored ones."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Final

from nixvm_loop.watch.content import ABSENT, OTHER_KIND, content_ids, signature_of
from nixvm_loop.watch.ignore import is_result_link
from nixvm_loop.watch.ledger import Ledger
from nixvm_loop.watch.settle import Work
from nixvm_loop.watch.tree import FULL_SCAN_FROM, below

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    from nixvm_loop.watch.ignore import IgnoreRules

# Reading all files of a huge folder would keep the user waiting. What there was no time for is known by its status
# until it first changes, so that the first bare `touch` of such a file counts as a change.
_START_S: Final = 1.0
_CHUNK_FILES: Final = 500


class FolderTree:
    """All files below a folder. Links are what they point to by name; they are not followed."""

    def __init__(self, root: str, rules: IgnoreRules) -> None:
        self.root = root
        self.ledger = Ledger()
        self._rules = rules
        self._known: dict[str, str] = {}
        self._seen: dict[str, int | None] = {}
        self._directories: frozenset[str] = frozenset({root})
        self._opened_s = 0.0

    def __len__(self) -> int:
        return len(self._known)

    def directories(self) -> AbstractSet[str]:
        """The folder and every directory in it that is not ignored."""
        return self._directories

    def hears(self, path: str) -> bool:
        """Everything in the folder that is not ignored."""
        if path == self.root:
            return True
        if not path.startswith(f"{self.root}/"):
            return False
        relative = path[len(self.root) + 1 :]
        return relative in self._known or not (self._rules.ignores(relative) or is_result_link(path))

    def present(self) -> bool:
        """Whether the folder is there."""
        return os.path.isdir(self.root)

    def work(self, now_s: float) -> Work:  # noqa: ARG002  # other trees need the time
        """Nothing tells who writes here."""
        return Work.NONE

    async def open(self) -> None:
        """Walk the folder."""
        self._opened_s = time.monotonic()
        found, directories = await asyncio.to_thread(self._walk, self.root)
        self._known = {path: _by_status(seen) for path, seen in found.items()}
        self._seen = dict(found)
        self._directories = frozenset(directories)

    async def settle_baseline(self) -> None:
        """Read what there is time for, and a small tree in any case."""
        paths = list(self._known)
        for start in range(0, len(paths), _CHUNK_FILES):
            if start and time.monotonic() - self._opened_s > _START_S:
                break
            contents = await asyncio.to_thread(content_ids, self.root, paths[start : start + _CHUNK_FILES])
            for path, (seen, content) in contents.items():
                self._seen[path], self._known[path] = seen, content

    async def reopen(self) -> None:
        """Look at everything."""
        await self.refresh(None)

    def clear(self) -> None:
        """Note that none of the files count any more."""
        for path, content in self._known.items():
            self.ledger.note(path, content, None)
        self._known.clear()
        self._seen.clear()

    async def refresh(self, hints: frozenset[str] | None) -> None:
        """Note which files came, went or have other contents."""
        if hints is None or len(hints) >= FULL_SCAN_FROM or self.root in hints:
            hints = frozenset({self.root})
        hints = frozenset(hint for hint in hints if self.hears(hint))
        gone, fresh, directories = await asyncio.to_thread(self._look, hints)
        for path in gone:
            self.ledger.note(path, self._known.pop(path), None)
            self._seen.pop(path, None)
        for path, (seen, content) in fresh.items():
            # A file that was never read cannot be compared; the status that it had can.
            before = self._known.get(path)
            if before is None or before != _by_status(seen):
                self.ledger.note(path, before, content)
            self._known[path], self._seen[path] = content, seen
        self._directories = directories

    def _look(self, hints: frozenset[str]) -> tuple[set[str], dict[str, tuple[int | None, str]], frozenset[str]]:
        """What is gone, what has to be compared (signature and id by path), and which directories there are."""
        gone: set[str] = set()
        doubtful: set[str] = set()
        directories = set(self._directories)
        for hint in hints:
            relative = hint[len(self.root) + 1 :]
            found, found_directories = self._walk(hint) if self._is_directory(hint) else ({}, set())
            if hint in directories:
                directories = {path for path in directories if not below(path, hint)}
                gone.update(path for path in self._known if hint == self.root or below(path, relative))
            directories |= found_directories
            gone -= found.keys()
            doubtful.update(path for path, seen in found.items() if self._seen.get(path) != seen)
            if not found_directories:
                doubtful.add(relative)
        contents = content_ids(self.root, doubtful - gone)
        gone |= {path for path, (_, content) in contents.items() if content == ABSENT or content.startswith(OTHER_KIND)}
        fresh = {path: content for path, content in contents.items() if path not in gone}
        return gone & self._known.keys(), fresh, frozenset(directories | {self.root})

    def _is_directory(self, path: str) -> bool:
        return os.path.isdir(path) and (path == self.root or not os.path.islink(path))

    def _walk(self, top: str) -> tuple[dict[str, int | None], set[str]]:
        files: dict[str, int | None] = {}
        directories = {top}
        waiting = [top]
        while waiting:
            for entry in _entries(waiting.pop()):
                relative = entry.path[len(self.root) + 1 :]
                if entry.is_dir(follow_symlinks=False):
                    if not self._rules.ignores_directory(relative):
                        directories.add(entry.path)
                        waiting.append(entry.path)
                elif self._counts(entry, relative):
                    files[relative] = _status(entry)
        return files, directories

    def _counts(self, entry: os.DirEntry[str], relative: str) -> bool:
        if entry.is_symlink():
            return not self._rules.ignores(relative) and not is_result_link(entry.path)
        return entry.is_file(follow_symlinks=False) and not self._rules.ignores(relative)


def _by_status(seen: int | None) -> str:
    return f"unread {seen}"


def _entries(directory: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            yield from entries
    except OSError:
        # Gone since it was listed, or not for us to read: there is nothing in it that a build could read either.
        return


def _status(entry: os.DirEntry[str]) -> int | None:
    try:
        return signature_of(entry.stat(follow_symlinks=False))
    except OSError:
        return None
