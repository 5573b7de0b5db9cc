"""The questions that are put to git. None of them writes to the repository."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixvm_loop.errors import UsageError
from nixvm_loop.process import Request, run

if TYPE_CHECKING:
    from collections.abc import Iterable

_GITLINK: Final = "160000"
_ENV: Final = {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
_NOT_IGNORED: Final = 1


@dataclass(frozen=True, slots=True)
class Listing:
    """The index: content ids by path relative to the tree, and the submodules' paths."""

    ids: dict[str, str]
    submodules: frozenset[str]


async def index_path(root: str) -> str:
    """Where the index of this working tree is (absolute); it need not exist. Raises UsageError outside of git."""
    output = await _git(root, "rev-parse", "--path-format=absolute", "--git-path", "index")
    return os.fsdecode(output).removesuffix("\n")


async def list_index(root: str) -> Listing:
    """The tracked files. An id is the index's, not the working tree's."""
    ids: dict[str, str] = {}
    submodules = []
    for record in os.fsdecode(await _git(root, "ls-files", "--stage", "-z")).split("\0")[:-1]:
        # MODE ID STAGE<tab>PATH
        meta, _, path = record.partition("\t")
        if meta.startswith(_GITLINK):
            submodules.append(path)
        else:
            ids[path] = meta[:-2]
    return Listing(ids, frozenset(submodules))


async def list_modified(root: str) -> frozenset[str]:
    """The tracked files that may not be what the index says: git compares their status, and content where in doubt."""
    return _paths(await _git(root, "diff-files", "--name-only", "-z", "--ignore-submodules=all"))


async def list_untracked_nix(root: str) -> frozenset[str]:
    """The Nix files that git neither tracks nor ignores."""
    return _paths(await _git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", "*.nix"))


async def without_ignored(root: str, paths: Iterable[str]) -> frozenset[str]:
    """Those of the paths that git does not ignore."""
    asked = frozenset(paths)
    stdin = b"".join(os.fsencode(path) + b"\0" for path in sorted(asked))
    return asked - _paths(await _git(root, "check-ignore", "--stdin", "-z", stdin=stdin, fine=_NOT_IGNORED))


def _paths(output: bytes) -> frozenset[str]:
    return frozenset(os.fsdecode(output).split("\0")[:-1])


async def _git(root: str, *arguments: str, stdin: bytes | None = None, fine: int = 0) -> bytes:
    # A file system monitor would be a daemon that outlives us.
    argv = ("git", "-c", "core.fsmonitor=false", *arguments)
    outcome = await run(Request(argv, cwd=Path(root), env=_ENV, stdin=stdin))
    if outcome.exit_code not in {0, fine}:
        raise UsageError(
            f"git cannot read {root}",
            hint=f"see what `git -C {root} status` says",
            details=tuple(outcome.stderr.decode(errors="replace").splitlines()),
        )
    return outcome.stdout
