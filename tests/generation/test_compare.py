from __future__ import annotations

from pathlib import Path

import pytest

from nixvm_loop.events.generations import Change, ChangeKind
from nixvm_loop.generation.compare import booted_one, parameters, units_and_files, usual_base
from nixvm_loop.model.values import Generation

ADDED, REMOVED, CHANGED = ChangeKind.ADDED, ChangeKind.REMOVED, ChangeKind.CHANGED


def generation(number: int, system: str, cmdline: str = "quiet") -> Generation:
    return Generation(number, Path("/g"), Path(system), Path("/k"), Path("/i"), cmdline)


def test_kernel_parameters() -> None:
    """Words that came and went, `init=` apart; only when the words are the same is their order worth a word."""
    changed = parameters("init=/a quiet panic=1", "init=/b panic=1 debug")
    assert (changed.added, changed.removed, changed.reordered) == (("debug",), ("quiet",), False)
    turned = parameters("init=/a quiet panic=1", "panic=1 quiet init=/b")
    assert (turned.added, turned.removed, turned.reordered) == ((), (), True)
    same = parameters("init=/a quiet", "init=/b quiet")
    assert (same.added, same.removed, same.reordered) == ((), (), False)


@pytest.mark.parametrize(
    ("numbers", "current", "last_good", "base"),
    [
        ([], None, None, None),
        ([1], 1, 1, None),
        ([1, 2, 3], 3, 2, 2),
        ([1, 2, 3], 2, 1, 1),
        ([1, 2, 3], 3, 3, 2),
        ([1, 2, 3], 1, 3, 1),
        ([1, 2, 3], None, None, 2),
        ([4, 7], 9, 9, 4),
    ],
)
def test_what_the_newest_is_compared_with(
    numbers: list[int], current: int | None, last_good: int | None, base: int | None
) -> None:
    """The last good one, the current one, or the one before; never itself, nor one that is not there."""
    assert usual_base(numbers, current, last_good) == base


def test_the_booted_generation() -> None:
    """System and command line tell which; what they cannot tell apart is the current one, else the newest."""
    known = [generation(1, "/a"), generation(2, "/a", "quiet debug"), generation(3, "/b"), generation(4, "/a")]
    assert booted_one(known, "/b", "quiet", 4) == 3
    assert booted_one(known, "/a", " quiet  debug", 4) == 2
    assert booted_one(known, "/a", "quiet", 4) == 4
    assert booted_one(known, "/a", "quiet", 1) == 1
    assert booted_one(known, "/a", "quiet", 3) == 4
    assert booted_one(known, "/a", None, 2) == 2
    assert booted_one(known, "/a", "single", 3) == 4
    assert booted_one(known, "/c", "quiet", 4) is None


def test_units_apart_from_other_files() -> None:
    """A drop-in is a change of its unit; a link that enables a unit is told when it comes or goes, else the unit is."""
    units, files = units_and_files(
        Change(name, change)
        for name, change in [
            ("motd", CHANGED),
            ("systemd/system/a.service", ADDED),
            ("systemd/system/a.service.d/x.conf", ADDED),
            ("systemd/system/b.service.d/x.conf", REMOVED),
            ("systemd/system/multi-user.target.wants/a.service", ADDED),
            ("systemd/system/multi-user.target.wants/c.service", CHANGED),
            ("systemd/system/c.service", CHANGED),
            ("systemd/network/x.link", CHANGED),
        ]
    )
    assert units == (
        Change("a.service", ADDED),
        Change("b.service", CHANGED),
        Change("c.service", CHANGED),
        Change("multi-user.target.wants/a.service", ADDED),
    )
    assert files == (Change("motd", CHANGED), Change("systemd/network/x.link", CHANGED))
