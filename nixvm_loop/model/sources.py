"""What a flake can see of the local file system: the trees that are worth watching."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path  # noqa: TC003  # pydantic and dataclasses.fields read it at run time


class SourceKind(StrEnum):
    """How Nix reads a tree: what git tracks of it, or every file."""

    GIT = "git"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class SourceRoot:
    """One tree that the build reads.

    Attributes:
        path: The top of the tree, absolute: git's top level, or the folder itself.
        submodules: Whether the tree's git submodules are part of it; never for a folder.
    """

    path: Path
    kind: SourceKind
    submodules: bool = False
