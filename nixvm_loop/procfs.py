"""What the kernel says of processes in /proc: whose children they are, and which of several under one number."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Where /proc/PID/stat has what, counted behind the name, which may hold anything.
_STATE: Final = 0
_PARENT: Final = 1
_START: Final = 19
# It has ended, and waits for its parent to hear of it.
_ENDED: Final = frozenset({"Z", "X"})


def descendants(root: int, parents: Mapping[int, int]) -> tuple[int, ...]:
    """The processes below `root`, given each process's parent."""
    found: list[int] = []
    frontier = {root}
    while frontier:
        frontier = {pid for pid, parent in parents.items() if parent in frontier}
        found += sorted(frontier)
    return tuple(found)


def parents() -> dict[int, int]:
    """Each process's parent."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return {pid: int(stat[_PARENT]) for pid in pids if (stat := _stat(pid))}


def started(pids: Iterable[int]) -> set[tuple[int, str]]:
    """Those of `pids` that are there, each with its start time."""
    return {(pid, stat[_START]) for pid in pids if (stat := _stat(pid))}


def is_alive(pid: int) -> bool:
    """Whether the process is there and has not ended."""
    stat = _stat(pid)
    return bool(stat) and stat[_STATE] not in _ENDED


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, none if the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
