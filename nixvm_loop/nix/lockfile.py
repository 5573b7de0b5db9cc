"""Reads flake.lock: the inputs that live on this machine, and how to make Nix use them as they are now."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

from nixvm_loop.model.sources import SourceKind, SourceRoot
from nixvm_loop.nix.flakeref import git_reference, path_reference

if TYPE_CHECKING:
    from collections.abc import Iterator

_STORE: Final = Path("/nix/store")


@dataclass(frozen=True, slots=True)
class LocalInput:
    """An input on this machine.

    Attributes:
        name: As `--override-input` wants it: `a`, or `a/b` for the input `b` of the input `a`.
        reference: What to use instead of the locked copy.
    """

    name: str
    reference: str
    root: SourceRoot


def local_inputs(text: str, flake_dir: Path) -> tuple[LocalInput, ...]:
    """The local inputs of a lock file; those that follow another input come with that one.

    Raises:
        ValueError: the text is no lock file.
    """
    try:
        lock = json.loads(text)
        nodes: dict[str, Any] = lock["nodes"]
        found = list(_walk(nodes, lock.get("root", "root"), (), frozenset()))
        return tuple(item for name, node in found if (item := _local(name, node, flake_dir)) is not None)
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"unexpected shape: {error}") from error


def _walk(
    nodes: dict[str, Any], key: str, path: tuple[str, ...], above: frozenset[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, target in nodes[key].get("inputs", {}).items():
        if isinstance(target, str) and target not in above:
            yield "/".join((*path, name)), nodes[target]
            yield from _walk(nodes, target, (*path, name), above | {key})


def _local(name: str, node: dict[str, Any], flake_dir: Path) -> LocalInput | None:
    locked, original = node.get("locked", {}), node.get("original", {})
    if "parent" in node:
        return None  # relative, as Nix 2.26 and newer lock it: read from its parent's tree each time
    if locked.get("type") == "path":
        return _folder(name, flake_dir / locked["path"])
    if locked.get("type") == "git" and not {"rev", "ref"} & original.keys():
        return _git(name, locked)
    return None


def _folder(name: str, path: Path) -> LocalInput | None:
    # What a registry names is often a path in the store, which never changes.
    if path.is_relative_to(_STORE):
        return None
    folder = Path(path.anchor, *_normal(path))
    return LocalInput(name, path_reference(folder), SourceRoot(folder, SourceKind.FOLDER))


def _git(name: str, locked: dict[str, Any]) -> LocalInput | None:
    url = str(locked["url"])
    path = url.removeprefix("file://").removeprefix("file:")
    if not path.startswith("/"):
        return None
    top = Path(unquote(path.partition("?")[0]))
    submodules = bool(locked.get("submodules", False))
    options = [f"dir={quote(locked['dir'])}"] if "dir" in locked else []
    options += ["submodules=1"] if submodules else []
    return LocalInput(name, git_reference(top, options), SourceRoot(top, SourceKind.GIT, submodules))


def _normal(path: Path) -> list[str]:
    parts: list[str] = []
    for part in path.parts[1:]:
        if part == "..":
            del parts[-1:]
        else:
            parts.append(part)
    return parts
