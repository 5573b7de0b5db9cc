"""Flake references that name something on this machine: which tree they mean, and how Nix wants them written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, quote, unquote

from nixvm_loop.model.sources import SourceKind, SourceRoot

if TYPE_CHECKING:
    from collections.abc import Sequence

_GIT_URL: Final = re.compile(r"git\+file:(?://)?(?P<path>/[^?#]*)")
_PATH_URL: Final = re.compile(r"path:(?://)?(?P<path>/[^?#]*)")
# Without a scheme nothing but these may stand in a path (Nix 2.8: "is not a valid URL").
_PLAIN: Final = re.compile(r"[\w./~+-]+(\?.*)?", re.ASCII)
# Nix 2.8 does not decode `path:` URLs, so nothing is encoded that may stand as it is.
_SAFE: Final = "/-._~!$&'()*+,;=:@"


@dataclass(frozen=True, slots=True)
class LocalFlake:
    """A flake, or another input, on this machine.

    Attributes:
        root: The tree that Nix reads.
        pinned: Whether the reference asks for a commit or branch: what is edited then does not count.
    """

    root: SourceRoot
    pinned: bool = False


def local_flake(reference: str) -> LocalFlake | None:
    """What an absolute local reference means; None for one that is remote, indirect or relative."""
    address, _, query = reference.partition("#")[0].partition("?")
    options = parse_qs(query)
    pinned = bool({"rev", "ref"} & options.keys())
    submodules = options.get("submodules", ["0"])[0] in {"1", "true"}
    if match := _PATH_URL.fullmatch(address):
        return LocalFlake(SourceRoot(Path(unquote(match["path"])), SourceKind.FOLDER))
    if match := _GIT_URL.fullmatch(address):
        return LocalFlake(SourceRoot(Path(unquote(match["path"])), SourceKind.GIT, submodules), pinned)
    if not address.startswith("/"):
        return None
    folder = Path(address).resolve()
    top = git_top(folder)
    if top is None:
        return LocalFlake(SourceRoot(folder, SourceKind.FOLDER))
    return LocalFlake(SourceRoot(top, SourceKind.GIT, submodules), pinned)


def git_top(folder: Path) -> Path | None:
    """The top level of the git checkout around a folder."""
    return next((path for path in (folder, *folder.parents) if (path / ".git").exists()), None)


def for_nix(reference: str) -> str:
    """The reference with what Nix cannot read in a plain path (a space, say) written as a URL."""
    if not reference.startswith("/") or _PLAIN.fullmatch(reference):
        return reference
    address, _, query = reference.partition("?")
    folder = Path(address).resolve()
    top = git_top(folder)
    if top is None:
        return path_reference(folder)
    below = folder.relative_to(top)
    return git_reference(top, [query] * bool(query) + [f"dir={_quoted(below)}"] * (folder != top))


def path_reference(folder: Path) -> str:
    """A `path:` reference for a folder."""
    return f"path:{_quoted(folder)}"


def git_reference(top: Path, options: Sequence[str] = ()) -> str:
    """A `git+file:` reference for a checkout as it is now, with URL parameters."""
    return f"git+file://{_quoted(top)}" + ("?" + "&".join(options) if options else "")


def _quoted(path: Path) -> str:
    return quote(str(path), safe=_SAFE)
