"""The user's tree as errors need it: which file a name of Nix's stands for, and where a text is written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote

from nixvm_loop.model.sources import SourceKind, SourceRoot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_STORE_FILE: Final = re.compile(r"/nix/store/[a-z0-9]{32}-[^/]+/(?P<rest>.+)")
# What newer Nix shows of a source that it has not copied: «git+file:///home/me/project?rev=…»/flake.nix
_VIRTUAL_FILE: Final = re.compile(r"«(?:git\+file:|path:|file:)?(?://)?(?P<root>/[^?»]*)[^»]*»/?(?P<rest>.*)")
# Modules without a name of their own are called after their file.
_ANONYMOUS: Final = re.compile(r"(:anon-\d+)+$")


class Files(Protocol):
    """Access to the file system; nothing in it raises."""

    def read(self, path: Path) -> str | None:
        """A file's text, None when there is no such file or it cannot be read."""
        ...

    def exists(self, path: Path) -> bool:
        """Whether there is anything at the path."""
        ...

    def nix_files(self, root: Path) -> Iterable[Path]:
        """The Nix files below a folder; may stop early in a huge tree."""
        ...


@dataclass(frozen=True, slots=True)
class UserTree:
    """What the flake is made of on this machine.

    Attributes:
        flake_file: The `flake.nix`, where errors without any other place are shown.
        roots: The flake's own tree first, then its local inputs'.
    """

    flake_file: Path
    roots: tuple[SourceRoot, ...]
    files: Files

    def locate(self, name: str) -> Path | None:
        """The user's file that Nix calls `name`; None when it is not, or no longer, the same file."""
        name = _ANONYMOUS.sub("", name)
        original = self.files.read(Path(name)) if name.startswith("/nix/store/") else None
        for path, _ in self._candidates(name):
            text = self.files.read(path)
            if text is not None and original in {None, text}:
                return path
        return None

    def is_own(self, path: Path) -> bool:
        """Whether a file belongs to the flake itself, not to another local input."""
        return bool(self.roots) and path.is_relative_to(self.roots[0].path)

    def unseen(self, name: str) -> tuple[Path, SourceRoot] | None:
        """The path that exists in the user's git tree although Nix, which calls it `name`, found nothing there."""
        for path, root in self._candidates(name):
            if root.kind is SourceKind.GIT and self.files.exists(path):
                return path, root
        return None

    def find(self, text: str) -> tuple[Path, int] | None:
        """The first place (file, line) in the user's Nix files that contains `text`."""
        for root in self.roots:
            for path in self.files.nix_files(root.path):
                content = self.files.read(path)
                if content is not None and (at := content.find(text)) >= 0:
                    return path, content.count("\n", 0, at) + 1
        return None

    def shorten(self, text: str) -> str:
        """The text with store paths below a source written as the user would: relative to the tree."""
        return re.sub(r"/nix/store/[a-z0-9]{32}-[^/\s'`\"]+/[^\s'`\"»:]+", lambda match: self._short(match[0]), text)

    def _short(self, name: str) -> str:
        match = _STORE_FILE.fullmatch(name)
        if match is None:
            return name
        missing = "-source/" in name and not self.files.exists(Path(name))
        return match["rest"] if missing or self.locate(name) is not None else name

    def _candidates(self, name: str) -> Iterator[tuple[Path, SourceRoot]]:
        if (match := _STORE_FILE.fullmatch(name)) is not None:
            for root in self.roots:
                yield root.path / match["rest"], root
            return
        if (match := _VIRTUAL_FILE.fullmatch(name)) is not None:
            name = f"{unquote(match['root']).rstrip('/')}/{match['rest']}"
        path = Path(name)
        for root in self.roots:
            if name.startswith("/") and path.is_relative_to(root.path):
                yield path, root
