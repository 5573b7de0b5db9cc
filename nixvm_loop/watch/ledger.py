"""What differs from what was last handed out; pure."""

from __future__ import annotations


class Ledger:
    """Remembers the content that each changed path had when changes were last taken.

    A path that gets its old content back is no change any more, however often it changed in between.
    """

    def __init__(self) -> None:
        self._before: dict[str, str | None] = {}

    def note(self, path: str, before: str | None, after: str | None) -> None:
        """`path` went from one content id to another; None stands for not being part of the tree."""
        if before == after:
            return
        if self._before.setdefault(path, before) == after:
            del self._before[path]

    def take(self) -> frozenset[str]:
        """The paths that differ; from here on they count as handed out."""
        paths = frozenset(self._before)
        self._before.clear()
        return paths
