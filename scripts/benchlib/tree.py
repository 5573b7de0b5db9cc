"""A `watch` on a git tree of 100,000 files, and a checkout that changes 10,000 of them."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Final

from benchlib.desk import Desk, created, desk, run
from benchlib.tool import Tool, first

if TYPE_CHECKING:
    from pathlib import Path

    from benchlib.series import Series

FILES: Final = 100_000
CHANGED: Final = 10_000
_PER_FOLDER: Final = 100
_QUIET_S: Final = 3.0
_AUTHOR: Final = ("-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false")


def measure(top: Path, series: Series) -> None:
    """Once with the flake in the large tree (its start alone), once with the tree in `watch.paths` (cycles as well).

    A cycle of a flake in such a tree is Nix's time: it copies the tree into the store.
    """
    inside = desk(top, "inside")
    _fill(inside.flake)
    inside.configure()
    series.add("tree: start", _start(inside))

    beside = created(top, "beside")
    tree = beside.folder / "tree"
    tree.mkdir()
    _git(tree, "init", "-q", "-b", "main")
    _fill(tree)
    beside.configure(more=f'[guests.{beside.name}.watch]\npaths = ["{tree}"]')
    _checkout(beside, tree, series)
    shutil.rmtree(tree)


def _fill(top: Path) -> None:
    for folder in range(FILES // _PER_FOLDER):
        inside = top / "tree" / f"{folder % 10}" / f"{folder}"
        inside.mkdir(parents=True)
        for file in range(_PER_FOLDER):
            (inside / f"{file}.nix").write_text(f"{{ value = {folder * _PER_FOLDER + file}; }}\n", encoding="utf-8")
    _commit(top, "many files")


def _start(place: Desk) -> float:
    tool = Tool(place.folder, "watch")
    try:
        events = tool.until(lambda arrival: arrival.is_a("loop_started"))
        return events[-1].at_s - tool.started_s
    finally:
        tool.stop()


def _checkout(place: Desk, tree: Path, series: Series) -> None:
    _git(tree, "checkout", "-q", "-b", "other")
    for folder in range(CHANGED // _PER_FOLDER):
        for file in (tree / "tree" / f"{folder % 10}" / f"{folder}").iterdir():
            file.write_text("{ value = -1; }\n", encoding="utf-8")
    _commit(tree, "other content")
    _git(tree, "checkout", "-q", "main")
    tool = Tool(place.folder, "watch")
    try:
        events = tool.until(lambda arrival: arrival.is_a("cycle_finished"))
        series.add("tree: start by paths", first(events, "loop_started").at_s - tool.started_s)
        tool.quiet(_QUIET_S)
        began_s = time.monotonic()
        _git(tree, "checkout", "-q", "other")
        ended_s = time.monotonic()
        seen = tool.until(lambda arrival: arrival.is_a("cycle_finished"))
        later = tool.quiet(_QUIET_S)
    finally:
        tool.stop()
    changes = first(seen, "changes_seen")
    series.add("tree: checkout", ended_s - began_s)
    series.add("tree: seen", changes.at_s - ended_s)
    series.add("tree: paths", len(changes.event["paths"]))
    series.add("tree: cycles", sum(arrival.is_a("cycle_started") for arrival in (*seen, *later)))


def _commit(top: Path, message: str) -> None:
    _git(top, "add", "--all")
    _git(top, *_AUTHOR, "commit", "-q", "-m", message)


def _git(top: Path, *arguments: str) -> None:
    run("git", "-C", top, "-c", "gc.auto=0", *arguments)
