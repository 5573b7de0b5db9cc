"""Which files are nobody's work: editors' droppings, links to results, what the user ignores."""

from __future__ import annotations

import os
from typing import Final

from pathspec import GitIgnoreSpec

_STORE: Final = "/nix/store/"

DROPPINGS: Final = (
    ".git",
    ".direnv/",
    "*~",
    ".#*",
    r"\#*#",
    ".*.sw[a-z]",
    "4913",
    "*___jb_tmp___",
    "*___jb_old___",
    "*.kate-swp",
    ".goutputstream-*",
    ".~lock.*",
    "*.tmp",
)
"""What vim, Emacs, JetBrains, Kate, GNOME and LibreOffice drop beside files; git's and direnv's own."""


class IgnoreRules:
    """Patterns in gitignore's syntax, the later ones winning; paths are relative to the tree."""

    def __init__(self, *patterns: str) -> None:
        self._spec = GitIgnoreSpec.from_lines(patterns) if patterns else None
        self._directories: dict[str, bool] = {}

    def ignores(self, path: str) -> bool:
        """Whether a file or a link does not count, for itself or for a directory above it."""
        if self._spec is None:
            return False
        directory = path.rpartition("/")[0]
        return bool(directory and self.ignores_directory(directory)) or self._spec.match_file(path)

    def ignores_directory(self, path: str) -> bool:
        """Whether a directory does not count, with all that is in it, for itself or for one above it."""
        if self._spec is None:
            return False
        if path not in self._directories:
            above = path.rpartition("/")[0]
            ignored = bool(above and self.ignores_directory(above)) or self._spec.match_file(f"{path}/")
            self._directories[path] = ignored
        return self._directories[path]


def is_result_link(path: str) -> bool:
    """Whether this is a link that `nix build` leaves behind: `result` or `result-…`, into the store."""
    name = os.path.basename(path)
    if name != "result" and not name.startswith("result-"):
        return False
    try:
        return os.readlink(path).startswith(_STORE)
    except OSError:
        return False
