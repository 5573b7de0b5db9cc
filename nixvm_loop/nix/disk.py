"""The file system as the diagnostics want to see it."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LARGEST_BYTES: Final = 1 << 20
_MOST_FILES: Final = 2000


class Disk:
    """Reads the user's tree; nothing in it raises, and huge trees and files are cut short."""

    def read(self, path: Path) -> str | None:
        """A file's text, None when there is no such file or it cannot be read."""
        try:
            with path.open("rb") as file:
                return file.read(_LARGEST_BYTES).decode("utf-8", "replace")
        except (OSError, ValueError):
            return None  # the answer, not a fault: the path came out of a message

    def exists(self, path: Path) -> bool:
        """Whether there is anything at the path."""
        return os.path.lexists(path)

    def nix_files(self, root: Path) -> Iterable[Path]:
        """The Nix files below a folder, hidden folders left out, at most a few thousand."""
        return itertools.islice(_nix_files(root), _MOST_FILES)


def _nix_files(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(".nix"))
