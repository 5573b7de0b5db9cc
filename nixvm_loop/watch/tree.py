"""What the watcher asks of a tree, whoever decides which files belong to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

    from nixvm_loop.watch.ledger import Ledger
    from nixvm_loop.watch.settle import Work

FULL_SCAN_FROM = 1000
"""From so many hints on it is cheaper, and safer, to look at everything: the kernel may have dropped some."""


class Tree(Protocol):
    """Files with their content ids, and the directories that have to be listened to."""

    root: str
    ledger: Ledger

    def __len__(self) -> int:
        """How many files count."""
        ...

    def directories(self) -> Collection[str]:
        """The directories, absolute, where changes matter. Some may not exist."""
        ...

    def hears(self, path: str) -> bool:
        """Whether a change at `path` (absolute) may be one of this tree's."""
        ...

    def present(self) -> bool:
        """Whether there is anything to look at; False while somebody deletes, moves or clones the tree."""
        ...

    def work(self, now_s: float) -> Work:
        """Whether something is known to be under way, at this time (seconds of the wall clock)."""
        ...

    async def open(self) -> None:
        """Find out which files and directories there are. Raises UsageError when the tree cannot be read."""
        ...

    async def settle_baseline(self) -> None:
        """Take the contents as they are now for handed out."""
        ...

    async def reopen(self) -> None:
        """Look at everything anew: another tree may have taken this one's place. Raises as `refresh` does."""
        ...

    def clear(self) -> None:
        """Note in the ledger that no file counts any more."""
        ...

    async def refresh(self, hints: frozenset[str] | None) -> None:
        """Look at the paths hinted at (absolute), or at everything, and note what differs in the ledger.

        Raises:
            UsageError: the tree cannot be read now; nothing was noted.
        """
        ...


def below(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or in it."""
    return path == directory or path.startswith(f"{directory}/")
