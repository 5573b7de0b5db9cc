"""Reads /proc/self/mountinfo and tells which mount a path really leads to."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from nixvm_loop.model.facts import Mount

if TYPE_CHECKING:
    from collections.abc import Sequence

_ESCAPE: Final = re.compile(r"\\([0-7]{3})")
_UNESCAPED_COLON: Final = re.compile(r"(?<!\\):")
# An initrd mounts below these and moves the whole tree to / later; the options keep the old names.
_INITRD_ROOTS: Final = ("/sysroot", "/mnt-root")
_FOLDER_OPTIONS: Final = ("lowerdir", "upperdir", "workdir")
_FIELDS_BEFORE: Final = 6
_FIELDS_AFTER: Final = 3


def parse(text: str) -> tuple[Mount, ...]:
    """The rows of a mountinfo, in their order. A line that is no row is passed over: the kernel writes none."""
    return tuple(mount for line in text.splitlines() if (mount := _row(line)) is not None)


def mount_at(mounts: Sequence[Mount], mount_point: str) -> Mount | None:
    """The mount that is seen at `mount_point`: the top one of a stack, None when nothing visible is mounted there.

    The path is walked as the kernel walks it, so a mount that a later one above it hides is not found.
    """
    ids = {mount.id for mount in mounts}
    level = [mount for mount in mounts if mount.parent not in ids or mount.parent == mount.id]
    current: Mount | None = None
    while covering := [mount for mount in level if PurePosixPath(mount_point).is_relative_to(mount.mount_point)]:
        shortest = min(len(mount.mount_point) for mount in covering)
        current = [mount for mount in covering if len(mount.mount_point) == shortest][-1]
        level = [mount for mount in mounts if mount.parent == current.id != mount.id]
    if current is None or PurePosixPath(current.mount_point) != PurePosixPath(mount_point):
        return None
    return current


def _row(line: str) -> Mount | None:
    before, separator, after = line.partition(" - ")
    head, tail = before.split(" "), after.split(" ")
    if not separator or len(head) < _FIELDS_BEFORE or len(tail) < _FIELDS_AFTER:
        return None
    if not (head[0].isdecimal() and head[1].isdecimal()):
        return None
    return Mount(
        id=int(head[0]),
        parent=int(head[1]),
        root=_unescape(head[3]),
        mount_point=_unescape(head[4]),
        options=frozenset(head[5].split(",")),
        fs_type=tail[0],
        source=_unescape(tail[1]),
        super_options=_super_options(tail[2]),
    )


def _super_options(text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in text.split(","):
        key, _, value = part.partition("=")
        value = _unescape(value)
        if key.rstrip("+") in _FOLDER_OPTIONS:
            value = ":".join(_without_initrd_root(folder) for folder in _UNESCAPED_COLON.split(value))
        if key == "lowerdir+":
            # Kernels from 6.5 on name each layer of the new mount interface on its own.
            key, value = "lowerdir", ":".join(filter(None, (options.get("lowerdir"), value)))
        options[key] = value
    return options


def _without_initrd_root(folder: str) -> str:
    for root in _INITRD_ROOTS:
        if folder.startswith(f"{root}/"):
            return folder.removeprefix(root)
    return folder


def _unescape(text: str) -> str:
    # Octal escapes stand for bytes, which together may be one character.
    raw = _ESCAPE.sub(
        lambda match: chr(int(match[1], 8) & 0xFF), text.encode("utf-8", "surrogateescape").decode("latin-1")
    )
    return raw.encode("latin-1").decode("utf-8", "replace")
