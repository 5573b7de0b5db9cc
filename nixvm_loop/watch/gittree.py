"""A flake in git: what Nix sees are the tracked files, as they are in the working tree."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from nixvm_loop.watch.content import content_ids, signature
from nixvm_loop.watch.git import Listing, index_path, list_index, list_modified
from nixvm_loop.watch.ledger import Ledger
from nixvm_loop.watch.settle import LIMIT_S, Work
from nixvm_loop.watch.tree import FULL_SCAN_FROM, below

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from nixvm_loop.watch.ignore import IgnoreRules

_SHA256_HEX: Final = 64
_REBASES: Final = ("rebase-merge", "rebase-apply")


class GitTree:
    """One working tree; submodules are trees of their own.

    The index knows the contents of all files that git holds for unmodified, so that only the others are ever read.
    """

    def __init__(self, root: str, rules: IgnoreRules) -> None:
        self.root = root
        self.ledger = Ledger()
        self.submodules: frozenset[str] = frozenset()
        self._rules = rules
        self._known: dict[str, str] = {}
        self._seen: dict[str, int | None] = {}
        self._directories: frozenset[str] = frozenset()
        self._index = ""
        self._index_signature: int | None = None
        self._algorithm = "sha1"

    def __len__(self) -> int:
        return len(self._known)

    def directories(self) -> AbstractSet[str]:
        """The root, the directories of tracked files, and git's own, where the index is."""
        return self._directories

    def hears(self, path: str) -> bool:
        """Tracked files and their directories, the index and HEAD."""
        return (
            path in self._directories or path in self._controls() or path.removeprefix(f"{self.root}/") in self._known
        )

    def present(self) -> bool:
        """Whether the root and its index are there."""
        return os.path.isdir(self.root) and (self._index_signature is None or os.path.lexists(self._index))

    def work(self, now_s: float) -> Work:
        """Whether git holds the index's lock. One that is older than our patience was left behind by a crash."""
        try:
            if now_s - os.lstat(f"{self._index}.lock").st_mtime < LIMIT_S:
                return Work.LOCKED
        except OSError:
            pass
        git_directory = os.path.dirname(self._index)
        return Work.STEPPING if any(os.path.lexists(f"{git_directory}/{name}") for name in _REBASES) else Work.NONE

    async def open(self) -> None:
        """List the tracked files."""
        self._index = await index_path(self.root)
        self._index_signature = signature(self._index)
        self._adopt(await self._list())

    async def settle_baseline(self) -> None:
        """Read the files that git holds for modified; the index speaks for the others."""
        await self.refresh(None)
        self.ledger.take()

    async def refresh(self, hints: frozenset[str] | None) -> None:
        """Note which files entered, left or have other contents."""
        if hints is not None and (len(hints) >= FULL_SCAN_FROM or self.root in hints):
            hints = None
        index_signature = signature(self._index)
        listing = None if index_signature == self._index_signature else await self._list()
        ids = self._known if listing is None else listing.ids
        entering = ids.keys() - self._known.keys()
        modified = await list_modified(self.root) & ids.keys() if hints is None or entering else frozenset()
        doubtful = {path for path in entering if path in modified}
        if listing is not None:
            doubtful |= {path for path, known in self._known.items() if ids.get(path, known) != known}
        if hints is None:
            doubtful |= modified | (self._seen.keys() & ids.keys())
        hinted = self._hinted(hints or (), ids)
        contents = await asyncio.to_thread(self._read, hinted, doubtful)
        self._note(ids, entering, contents)
        if listing is not None:
            self._adopt(listing)
            self._index_signature = index_signature

    async def reopen(self) -> None:
        """Look at everything, in a repository that may be another one."""
        index = await index_path(self.root)
        self._index, self._index_signature = index, None
        self._seen.clear()
        await self.refresh(None)

    def clear(self) -> None:
        """Note that none of the files count any more."""
        self._note({}, frozenset(), {})

    def _controls(self) -> tuple[str, str]:
        return (self._index, f"{os.path.dirname(self._index)}/HEAD")

    async def _list(self) -> Listing:
        listing = await list_index(self.root)
        ids = {path: known for path, known in listing.ids.items() if not self._rules.ignores(path)}
        return Listing(ids, listing.submodules)

    def _adopt(self, listing: Listing) -> None:
        # Files that are known keep the id of what is in the working tree.
        ids = listing.ids
        for path in self._known.keys() & ids.keys():
            ids[path] = self._known[path]
        self._known = ids
        self.submodules = listing.submodules
        self._directories = frozenset({self.root, os.path.dirname(self._index)}).union(
            f"{self.root}/{directory}" for directory in parents(ids) | self.submodules
        )
        if ids:
            length = len(next(iter(ids.values())).partition(" ")[2])
            self._algorithm = "sha256" if length == _SHA256_HEX else "sha1"

    def _hinted(self, hints: Iterable[str], ids: dict[str, str]) -> set[str]:
        found: set[str] = set()
        for hint in hints:
            path = hint.removeprefix(f"{self.root}/")
            if path in ids:
                found.add(path)
            elif hint in self._directories:
                found.update(known for known in ids if below(known, path))
        return found

    def _read(self, hinted: set[str], doubtful: set[str]) -> dict[str, tuple[int | None, str]]:
        fresh = {path for path in doubtful - hinted if self._is_fresh(path)}
        return content_ids(self.root, fresh | hinted, self._algorithm)

    def _is_fresh(self, path: str) -> bool:
        return path not in self._seen or self._seen[path] != signature(f"{self.root}/{path}")

    def _note(
        self, ids: dict[str, str], entering: AbstractSet[str], contents: dict[str, tuple[int | None, str]]
    ) -> None:
        for path in self._known.keys() - ids.keys():
            self.ledger.note(path, self._known.pop(path), None)
            self._seen.pop(path, None)
        for path in entering - contents.keys():
            self.ledger.note(path, None, ids[path])
            self._known[path] = ids[path]
        for path, (seen, content) in contents.items():
            self.ledger.note(path, self._known.get(path), content)
            self._known[path], self._seen[path] = content, seen


def parents(paths: Iterable[str]) -> set[str]:
    """All directories above these relative paths, without the root."""
    found: set[str] = set()
    for path in paths:
        directory = path.rpartition("/")[0]
        while directory and directory not in found:
            found.add(directory)
            directory = directory.rpartition("/")[0]
    return found
