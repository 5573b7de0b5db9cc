"""New files that git does not track: the build cannot see them, which is worth a word."""

from __future__ import annotations

import logging
import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixvm_loop.errors import UsageError
from nixvm_loop.watch.git import list_untracked_nix, without_ignored
from nixvm_loop.watch.ignore import DROPPINGS, IgnoreRules
from nixvm_loop.watch.tree import below

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from nixvm_loop.model.settings import WatchSettings
    from nixvm_loop.watch.forest import Forest

_log = logging.getLogger(__name__)
_DIRECTORIES_LIMIT: Final = 200


class Strangers:
    """Collects what appeared in git's trees without being tracked; true while there is something to look into."""

    def __init__(
        self, forest: Forest, settings: WatchSettings, report: Callable[[tuple[Path, ...]], None] | None
    ) -> None:
        self._forest, self._report = forest, report
        self._rules = IgnoreRules(*DROPPINGS, *settings.ignore)
        self._met: set[str] = set()
        self._told: set[str] = set()
        self.directories: frozenset[str] = frozenset()
        """New directories without tracked files, where files are worth a word."""

    def __bool__(self) -> bool:
        return bool(self._met)

    def meet(self, paths: set[str]) -> None:
        """Something came or went at these paths (absolute), and no tree claims them."""
        if self._report is not None:
            self._met.update(path for path in paths if "/.git/" not in path and _is_of_interest(path))

    async def find_directories(self) -> frozenset[str]:
        """Which new directories are worth listening to: those that git does not ignore."""
        found: set[str] = set()
        for tree in self._forest.git_trees():
            inside = {path for met in self._met if below(met, tree.root) for path in _directories(met)}
            if inside:
                found |= await _unless_git_fails(without_ignored(tree.root, inside))
        self.directories = frozenset(filter(os.path.isdir, self.directories | found))
        return self.directories

    async def report(self) -> None:
        """Tell of the new Nix files that git neither tracks nor ignores, each once."""
        new: set[str] = set()
        for tree in self._forest.git_trees():
            if any(below(met, tree.root) for met in self._met):
                untracked = await _unless_git_fails(list_untracked_nix(tree.root))
                new.update(f"{tree.root}/{path}" for path in untracked if not self._rules.ignores(path))
        new = {path for path in new - self._told if path in self._met or os.path.dirname(path) in self.directories}
        self._met.clear()
        self._told |= new
        if new and self._report is not None:
            self._report(tuple(map(Path, sorted(new))))


def _is_of_interest(path: str) -> bool:
    return path.endswith(".nix") or (os.path.isdir(path) and not os.path.islink(path))


def _directories(top: str) -> Iterator[str]:
    if os.path.isdir(top):
        yield from (path for path, _, _ in islice(os.walk(top), _DIRECTORIES_LIMIT))


async def _unless_git_fails(question: Awaitable[frozenset[str]]) -> frozenset[str]:
    try:
        return await question
    except UsageError as error:
        # Advice is not worth a failure; a tree that git cannot read is reported by whoever needs it.
        _log.debug("%s", error, exc_info=error)
        return frozenset()
