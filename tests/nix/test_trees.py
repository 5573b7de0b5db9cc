"""Comparing two systems' `etc` as NixOS lays it out: links into the store, folders of units, links that leave it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.events.generations import Change, ChangeKind
from nixvm_loop.nix.trees import Limits, Trees, compare

if TYPE_CHECKING:
    from pathlib import Path


class Systems:
    """A store with two toplevels, `old` and `new`; each file of theirs lies in a store path of its own."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.count = 0
        for system in ("old", "new"):
            self.path(f"{system}-etc", "etc").mkdir(parents=True)
            self.path(f"{system}-system").mkdir()
            self.path(f"{system}-system", "etc").symlink_to(self.path(f"{system}-etc", "etc"))

    def path(self, name: str, *inside: str) -> Path:
        return self.store.joinpath(name, *inside)

    def both(self, name: str, old: str | None, new: str | None, *, linked: bool = True) -> None:
        """A file with these contents, None where it is not; `linked` as NixOS does it, else a plain file."""
        for system, text in (("old", old), ("new", new)):
            if text is not None:
                self.count += 1
                place = self.path(f"{system}-etc", "etc", name)
                place.parent.mkdir(parents=True, exist_ok=True)
                file = self.path(f"{self.count}-file") if linked else place
                file.write_text(text)
                if linked:
                    place.symlink_to(file)

    def links(self, name: str, old: str | Path, new: str | Path) -> None:
        """A link with these targets."""
        for system, target in (("old", old), ("new", new)):
            self.path(f"{system}-etc", "etc", name).symlink_to(target)

    def folder(self, name: str, **files: str) -> Path:
        """A store path that is a folder of files."""
        folder = self.path(name)
        folder.mkdir()
        for file, text in files.items():
            (folder / file).write_text(text)
        return folder

    def differences(self, limits: Limits | None = None) -> Trees:
        return compare(self.path("old-system", "etc"), self.path("new-system", "etc"), lambda: False, limits)

    def found(self) -> dict[str, str]:
        trees = self.differences()
        assert trees.incomplete is None
        return {change.name: change.change.value for change in trees.changes}


@pytest.fixture
def systems(tmp_path: Path) -> Systems:
    return Systems(tmp_path / "store")


@pytest.mark.parametrize("linked", [True, False])
def test_files_are_compared_by_content(systems: Systems, linked: bool) -> None:  # noqa: FBT001  # pytest's way
    """Another store path with the same content is no change; another content of the same length is one."""
    systems.both("same", "text", "text", linked=linked)
    systems.both("changed", "text", "TEXT", linked=linked)
    systems.both("longer", "text", "text and more", linked=linked)
    systems.both("gone", "text", None, linked=linked)
    systems.both("deep/down/new", None, "text", linked=linked)
    systems.both("deep/down/other", "text", "text", linked=linked)
    assert systems.found() == {"changed": "changed", "longer": "changed", "gone": "removed", "deep/down/new": "added"}


def test_an_executable_bit_is_content(systems: Systems) -> None:
    """A script that became executable has changed."""
    systems.both("script", "#!/bin/sh", "#!/bin/sh", linked=False)
    systems.path("new-etc", "etc", "script").chmod(0o755)
    assert systems.found() == {"script": "changed"}


def test_linked_folders_are_looked_into(systems: Systems) -> None:
    """A folder by a link is compared file by file; the same store path is not even opened."""
    same = systems.folder("same-zoneinfo", utc="0")
    (same / "utc").chmod(0)
    systems.links("zoneinfo", same, same)
    systems.links("fonts", systems.folder("fonts-1", a="1", b="1"), systems.folder("fonts-2", a="1", b="2", c="3"))
    assert systems.found() == {"fonts/b": "changed", "fonts/c": "added"}


def test_a_folder_that_came_or_went_is_one_change(systems: Systems) -> None:
    """Its name says it, except for units, which are told one by one."""
    systems.both("gone/a", "1", None)
    systems.both("gone/b", "1", None)
    systems.both("systemd/system/a.service", None, "1")
    systems.both("systemd/system/b.service.d/x.conf", None, "1")
    assert systems.found() == {
        "gone/": "removed",
        "systemd/system/a.service": "added",
        "systemd/system/b.service.d/x.conf": "added",
    }


def test_links_that_leave_the_store_mean_the_guests_files(systems: Systems, tmp_path: Path) -> None:
    """They are compared by their targets: what this host has there is never looked at."""
    (tmp_path / "one").write_text("same on this host")
    (tmp_path / "two").write_text("same on this host")
    systems.links("mtab", "/proc/mounts", "/proc/mounts")
    systems.links("localtime", "/etc/zoneinfo/UTC", "/etc/zoneinfo/Europe/Berlin")
    systems.links("hosts", tmp_path / "one", tmp_path / "two")
    (tmp_path / "back").symlink_to(systems.folder("of-this-host", file="1"))
    systems.links("there-and-back", tmp_path / "back" / "file", tmp_path / "back" / "file")
    systems.links("up", "../../../one", "../../../one")
    assert systems.found() == {"localtime": "changed", "hosts": "changed"}


def test_links_that_lead_nowhere(systems: Systems) -> None:
    """Dangling links and loops are compared by what they say, and end."""
    systems.links("dangling", "missing", "missing")
    systems.links("other", "missing", "away")
    systems.links("itself", "itself", "itself")
    for name in ("loop-1", "loop-2"):
        folder = systems.folder(name, file=name)
        (folder / "again").symlink_to(folder)
    systems.links("loop", systems.path("loop-1"), systems.path("loop-2"))
    assert systems.found() == {"other": "changed", "loop/file": "changed"}
    os.mkfifo(systems.path("old-etc", "etc", "pipe"))
    os.mkfifo(systems.path("new-etc", "etc", "pipe"))
    assert systems.found()["pipe"] == "changed"


def test_a_file_that_became_a_folder(systems: Systems) -> None:
    """Another kind of thing is a change."""
    systems.both("thing", "text", None)
    systems.both("thing/inside", None, "text")
    assert systems.found() == {"thing/": "changed"}


def test_a_system_without_etc(systems: Systems) -> None:
    """What the other one has is new; two without have no difference."""
    systems.both("motd", "1", "1")
    nothing = systems.path("bare-system", "etc")
    assert compare(nothing, systems.path("new-system", "etc"), lambda: False).changes == (
        Change("motd", ChangeKind.ADDED),
    )
    assert compare(nothing, nothing, lambda: False) == Trees((), None)


def test_a_huge_tree_is_compared_in_part(systems: Systems) -> None:
    """What is over the limits is not compared, and that is said; what was found until then is told."""
    for number in range(20):
        systems.both(f"{number:02}", "1", "2")
    systems.both("99-long", "a" * 100, "b" * 100)
    few = systems.differences(Limits(entries=10))
    assert few.incomplete == "only the first 10 files were compared"
    assert [change.name for change in few.changes] == [f"{number:02}" for number in range(9)]
    small = systems.differences(Limits(compared_bytes=64))
    assert small.incomplete == "files beyond 64 B were compared by size alone"
    assert len(small.changes) == 20


def test_giving_up(systems: Systems) -> None:
    """When nobody waits any more, the walk ends at the next file."""
    asked = iter([False, False, True])
    systems.both("a", "1", "2")
    systems.both("b", "1", "2")
    trees = compare(systems.path("old-system", "etc"), systems.path("new-system", "etc"), lambda: next(asked))
    assert trees.incomplete == "interrupted"
    assert [change.name for change in trees.changes] == ["a"]
