"""Compares folders of the store by content: links are followed within the store, and only there."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from nixvm_loop.events.generations import Change, ChangeKind
from nixvm_loop.model.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_CHUNK_BYTES: Final = 1 << 18
_MOST_LINKS: Final = 40
# Folders of units are told file by file, however they came or went.
_UNITS: Final = "systemd/system/"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is compared: entries of folders, and bytes of files that are of equal size."""

    entries: int = 50_000
    compared_bytes: int = 512 << 20


@dataclass(frozen=True, slots=True)
class Trees:
    """What differs, and why not everything was compared (None: everything was)."""

    changes: tuple[Change, ...]
    incomplete: str | None


class _Kind(Enum):
    FILE = auto()
    FOLDER = auto()
    ELSEWHERE = auto()  # a link that leads out of the store, or nowhere
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class _Node:
    """What a path leads to; `place` has no more links, `size` is in bytes."""

    kind: _Kind
    place: str
    size: int = 0
    executable: bool = False


class _StoppedError(Exception):
    """Nobody waits for the result any more, or a limit is reached."""


def compare(before: Path, after: Path, stopped: Callable[[], bool], limits: Limits | None = None) -> Trees:
    """What differs below two paths of one store, sorted by name.

    Args:
        before: A path directly in a store path, such as `/nix/store/…-system/etc`; it need not exist.
        after: The same of another.
        stopped: Whether to give up.
        limits: The usual ones when None.
    """
    walk = _Walk(str(before.parent.parent), stopped, limits or Limits())
    try:
        walk.run(str(before), str(after))
    except _StoppedError as why:
        walk.incomplete = str(why)
    return Trees(tuple(sorted(walk.changes, key=lambda change: change.name)), walk.incomplete)


@dataclass(slots=True)
class _Walk:
    store: str
    stopped: Callable[[], bool]
    limits: Limits
    changes: list[Change] = field(default_factory=list)
    incomplete: str | None = None
    entries: int = 0
    compared_bytes: int = 0

    def run(self, before: str, after: str) -> None:
        pending: list[tuple[str, str, str, frozenset[tuple[str, str]]]] = [("", before, after, frozenset())]
        while pending:
            name, old_path, new_path, above = pending.pop()
            old, new = self.node(old_path), self.node(new_path)
            self.count()
            if not self.to_descend(name, old, new):
                self.judge(name, old, new)
                continue
            pair = (old.place if old else "", new.place if new else "")
            if pair in above:
                continue  # a link to a folder above it
            for inside in sorted(self.names(old) | self.names(new), reverse=True):
                path = f"{name}/{inside}" if name else inside
                old_path, new_path = (f"{place}/{inside}" if place else "" for place in pair)
                pending.append((path, old_path, new_path, above | {pair}))

    def count(self) -> None:
        self.entries += 1
        if self.stopped():
            raise _StoppedError("interrupted")
        if self.entries > self.limits.entries:
            raise _StoppedError(f"only the first {self.limits.entries} files were compared")

    def to_descend(self, name: str, old: _Node | None, new: _Node | None) -> bool:
        folders = [node is not None and node.kind is _Kind.FOLDER for node in (old, new)]
        if old is not None and new is not None:
            return all(folders) and old.place != new.place
        # Of folders that came or went as a whole only the name is told.
        return any(folders) and (not name or _UNITS.startswith(f"{name}/") or name.startswith(_UNITS))

    def judge(self, name: str, old: _Node | None, new: _Node | None) -> None:
        existing = new or old
        if existing is None:
            return
        shown = f"{name}/" if existing.kind is _Kind.FOLDER else name
        if old is None:
            self.changes.append(Change(shown, ChangeKind.ADDED))
        elif new is None:
            self.changes.append(Change(shown, ChangeKind.REMOVED))
        elif old.place != new.place and not self.same(old, new):
            self.changes.append(Change(shown, ChangeKind.CHANGED))

    def same(self, old: _Node, new: _Node) -> bool:
        """Whether two nodes in different places are alike."""
        if not old.kind is new.kind is _Kind.FILE:
            return False
        if (old.size, old.executable) != (new.size, new.executable):
            return False
        if self.compared_bytes + old.size > self.limits.compared_bytes:
            self.incomplete = f"files beyond {format_bytes(self.limits.compared_bytes)} were compared by size alone"
            return True
        self.compared_bytes += old.size
        return all(mine == theirs for mine, theirs in zip_longest(_chunks(old.place), _chunks(new.place)))

    def names(self, node: _Node | None) -> set[str]:
        return set() if node is None else set(os.listdir(node.place))

    def node(self, path: str) -> _Node | None:
        """What is there, None when nothing is."""
        if not path or not os.path.lexists(path):
            return None
        place = self.resolved(path)
        if not place.startswith(f"{self.store}/"):
            return _Node(_Kind.ELSEWHERE, place)
        found = os.lstat(place) if os.path.lexists(place) else None
        if found is None or stat.S_ISLNK(found.st_mode):  # nothing is there, or links without end
            return _Node(_Kind.ELSEWHERE, os.readlink(path))
        if stat.S_ISDIR(found.st_mode):
            return _Node(_Kind.FOLDER, place)
        if stat.S_ISREG(found.st_mode):
            return _Node(_Kind.FILE, place, found.st_size, bool(found.st_mode & stat.S_IXUSR))
        return _Node(_Kind.OTHER, place)

    def resolved(self, path: str) -> str:
        """The path without links, as far as it stays in the store: what is outside means the guest's own files."""
        place, ahead, links = "", path.split("/")[::-1], 0
        while ahead:
            name = ahead.pop()
            if name == "..":
                place = place.rpartition("/")[0]
            elif name not in {"", "."}:
                step = f"{place}/{name}"
                if step.startswith(f"{self.store}/") and os.path.islink(step) and links < _MOST_LINKS:
                    links += 1
                    target = os.readlink(step)
                    place = "" if target.startswith("/") else place
                    ahead += target.split("/")[::-1]
                else:
                    place = step
        return place


def _chunks(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
