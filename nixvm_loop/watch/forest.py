"""All the trees that a build reads, taken together; a tree that is gone for a while is waited for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nixvm_loop.errors import UsageError
from nixvm_loop.events.types import Notice
from nixvm_loop.model.sources import SourceKind
from nixvm_loop.model.values import Severity
from nixvm_loop.watch.fileset import FileSet
from nixvm_loop.watch.foldertree import FolderTree
from nixvm_loop.watch.gittree import GitTree
from nixvm_loop.watch.ignore import DROPPINGS, IgnoreRules
from nixvm_loop.watch.settle import Work

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nixvm_loop.events.types import Emit
    from nixvm_loop.model.settings import WatchSettings
    from nixvm_loop.model.sources import SourceRoot
    from nixvm_loop.watch.tree import Tree


class Forest:
    """Trees of all kinds. Submodules come and go with what their parent's index says."""

    def __init__(self, sources: tuple[SourceRoot, ...], settings: WatchSettings, emit: Emit) -> None:
        self._sources, self._settings, self._emit = sources, settings, emit
        self._trees: dict[str, Tree] = {}
        self._with_submodules: set[str] = set()
        self._departed: set[str] = set()
        self.lost: set[str] = set()
        """The trees that cannot be looked at now."""
        self.roots: tuple[Path, ...] = tuple(dict.fromkeys((*(source.path for source in sources), *settings.paths)))

    def __len__(self) -> int:
        return sum(map(len, self._trees.values()))

    def git_trees(self) -> Iterator[GitTree]:
        """Those in git, submodules included, that can be looked at now."""
        return (tree for root, tree in self._trees.items() if isinstance(tree, GitTree) and root not in self.lost)

    def directories(self) -> frozenset[str]:
        """Where changes matter."""
        return frozenset().union(*(tree.directories() for tree in self._trees.values()))

    def hears(self, path: str) -> bool:
        """Whether a change at `path` may matter; a new `.git` may be a submodule's."""
        return any(tree.hears(path) for tree in self._trees.values()) or path.endswith("/.git")

    def work(self, now_s: float) -> Work:
        """What is under way in any of the trees."""
        works = {tree.work(now_s) for tree in self._trees.values()}
        return next((work for work in (Work.LOCKED, Work.STEPPING) if work in works), Work.NONE)

    async def open(self) -> None:
        """Find out what there is. Raises UsageError for what is missing or unreadable."""
        for path in self.roots:
            if not path.exists():
                raise UsageError(f"{path} does not exist", hint="see `flake` and `watch.paths` in the configuration")
        self._plant()
        for tree in tuple(self._trees.values()):
            await tree.open()
        while planted := self._plant_submodules():
            for tree in planted:
                await tree.open()

    async def settle_baseline(self) -> None:
        """Take all contents for handed out."""
        for tree in self._trees.values():
            await tree.settle_baseline()

    async def refresh(self, hints: frozenset[str] | None) -> None:
        """Look at the paths hinted at, or at everything; changes are then there to be taken."""
        for root, tree in tuple(self._trees.items()):
            # Its parent's index, looked at before, may have given it up.
            if root in self._trees and (hints is None or hints or root in self.lost):
                await self._refresh(tree, hints)
                self._fell_submodules()
        for planted in self._plant_submodules():
            self.lost.add(planted.root)
            await self._refresh(planted, None)

    def take(self) -> frozenset[str]:
        """The paths (absolute) that changed since this was last called."""
        paths = {
            f"{tree.root}/{path}" if tree.root else path for tree in self._trees.values() for path in tree.ledger.take()
        }
        departed, self._departed = self._departed, set()
        return frozenset(paths | departed)

    def _plant(self) -> None:
        user = self._settings.ignore
        for source in self._sources:
            root = os.path.abspath(source.path)
            if source.kind is SourceKind.GIT:
                self._trees[root] = GitTree(root, IgnoreRules(*user))
                if source.submodules:
                    self._with_submodules.add(root)
            else:
                self._trees[root] = FolderTree(root, IgnoreRules(*DROPPINGS, *user))
        files: list[str] = []
        for path in map(os.path.abspath, self._settings.paths):
            if not os.path.isdir(path):
                files.append(path)
            elif path not in self._trees:
                self._trees[path] = FolderTree(path, IgnoreRules(*DROPPINGS, *user))
        if files:
            self._trees[FileSet.root] = FileSet(files)

    async def _refresh(self, tree: Tree, hints: frozenset[str] | None) -> None:
        if not tree.present():
            self._lose(tree, *_absence(tree))
            return
        try:
            if tree.root in self.lost:
                await tree.reopen()
                self.lost.discard(tree.root)
            else:
                await tree.refresh(hints)
        except UsageError as error:
            self._lose(tree, error.message, error.hint)

    def _lose(self, tree: Tree, message: str, hint: str | None) -> None:
        if tree.root not in self.lost:
            self.lost.add(tree.root)
            self._emit(Notice(Severity.WARNING, message, hint))

    def _submodules(self) -> set[str]:
        return {
            f"{root}/{path}"
            for root in self._with_submodules
            if isinstance(tree := self._trees.get(root), GitTree)
            for path in tree.submodules
            if os.path.lexists(f"{root}/{path}/.git")
        }

    def _plant_submodules(self) -> list[GitTree]:
        planted = [
            GitTree(root, IgnoreRules(*self._settings.ignore)) for root in self._submodules() - self._trees.keys()
        ]
        for tree in planted:
            self._trees[tree.root] = tree
            self._with_submodules.add(tree.root)
        return planted

    def _fell_submodules(self) -> None:
        top = {os.path.abspath(source.path) for source in self._sources}
        for root in self._with_submodules - top - self._submodules():
            tree = self._trees.pop(root)
            tree.clear()
            self._departed.update(f"{root}/{path}" for path in tree.ledger.take())
            self._with_submodules.discard(root)
            self.lost.discard(root)


def _absence(tree: Tree) -> tuple[str, str]:
    """What of a tree is not there, and what comes of that."""
    if not isinstance(tree, GitTree) or not os.path.isdir(tree.root):
        return f"{tree.root} is gone", "watching goes on when it is back"
    if os.path.lexists(f"{tree.root}/.git"):
        return f"the git index of {tree.root} is gone", f"watching goes on when it is back: git -C {tree.root} reset"
    return (
        f"{tree.root} is no git repository any more: saves there are not noticed",
        "watching goes on when its .git is back; to have all files of the folder taken instead, start watch anew",
    )
