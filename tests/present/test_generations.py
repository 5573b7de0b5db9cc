from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from inline_snapshot import snapshot

from nixvm_loop.events.generations import BootedSource, Change, ChangeKind, Difference, GenerationInfo, History
from nixvm_loop.events.types import Stamped
from nixvm_loop.model.clock import SystemClock
from nixvm_loop.model.values import Action, Verdict
from nixvm_loop.present import Output, difference, generations, sink, tables
from tests.present.scenario import HOSTILE

TIME = datetime(2026, 11, 23, tzinfo=UTC)
BASE = GenerationInfo(
    1, "2026-11-23T08:00:00Z", 7300.0, Verdict.OK, Action.RESTART, "the first cycle", (), None, None, 1, "1", "/s/1",
    "/k", "/i", "quiet", "/c", False, False, False, False, False, None,
)  # fmt: skip
MANY = ("/home/me/a.nix", "/home/me/modules/b.nix", "/home/me/c.nix", "/home/me/d.nix", "/home/me/e.nix")
HISTORY = History(
    4, 3, 3, 3, "/s/3", BootedSource.GUEST, 0.0, None, (),
    (
        replace(BASE, number=4, age_seconds=3.0, verdict=Verdict.FAILED, changes=MANY, built=True),
        replace(
            BASE, number=3, age_seconds=185.0, changes=("/home/me/modules/b.nix",), current=True, booted=True,
            last_good=True,
        ),
        replace(BASE, number=2, age_seconds=None, verdict=None, action=None, problem="damaged: its kernel is missing"),
        BASE,
    ),
)  # fmt: skip
SYSTEM = "/nix/store/" + "{}" * 32 + "-nixos-system-demo"
DIFFERENCE = Difference(
    3, 4, SYSTEM.format(*"a" * 32), SYSTEM.format(*"b" * 32), "/nix/store/" + "k" * 32 + "-linux-6.12/bzImage",
    "/nix/store/" + "l" * 32 + "-linux-6.13/bzImage", "/i", "/i", ("debug",), ("quiet",), False,
    (Change("a.service", ChangeKind.ADDED), Change("b.service", ChangeKind.CHANGED)),
    (Change("motd", ChangeKind.CHANGED), Change("old/", ChangeKind.REMOVED)), None, ("hello: 1.0 → 1.1, +9.0 KiB",),
)  # fmt: skip


def test_history_in_columns() -> None:
    """Paths are told from the folder that they have in common; a damaged one says what is wrong with it."""
    assert "\n".join(generations.lines(HISTORY)) == snapshot("""\
generation  age            verdict  action   is                          changed
4           just now       failed   restart  built                       a.nix, modules/b.nix, c.nix and 2 more
3           3 minutes ago  ok       restart  current, booted, last good  modules/b.nix
2           -              -        -        -                           damaged: its kernel is missing
1           2 hours ago    ok       restart  -                           the first cycle
booted: generation 3, as the guest says\
""")


@pytest.mark.parametrize(
    ("source", "booted", "system", "problem", "said"),
    [
        (BootedSource.GUEST, None, "/s/9", None, "booted: unknown: /s/9, as the guest says"),
        (BootedSource.LAST_SEEN, 3, "/s/3", "no answer", "booted: generation 3, as last seen 5 minutes ago; no answer"),
        (BootedSource.LAST_SEEN, None, "/s", "no", "booted: unknown: /s, as last seen 5 minutes ago; no"),
        (BootedSource.LIBVIRT, None, None, "domain demo is shut off", "booted: nothing; domain demo is shut off"),
        (None, None, None, "libvirt is not running", "booted: unknown; libvirt is not running"),
    ],
)
def test_who_says_what_is_booted(
    source: BootedSource | None, booted: int | None, system: str | None, problem: str | None, said: str
) -> None:
    """The guest's own word, memory with its age, libvirt's, or nobody's: never one for the other."""
    event = replace(
        HISTORY, booted_source=source, booted=booted, booted_system=system, booted_problem=problem,
        booted_age_seconds=300.0,
    )  # fmt: skip
    assert generations.remarks(event) == [said]


def test_history_of_nothing() -> None:
    """Without generations there is no table; what is wrong beside them is told all the same."""
    empty = replace(HISTORY, generations=(), booted=None, booted_source=None, problems=("current dangles",))
    assert generations.lines(empty) == ["no generation yet", "booted: unknown", "current dangles"]
    assert [line.plain for line in tables.history(empty, 80)] == generations.lines(empty)


def test_paths_without_a_common_folder() -> None:
    """Relative and absolute paths together are told in full."""
    mixed = replace(HISTORY, generations=(replace(BASE, changes=("/a/b.nix", "c.nix")),))
    assert generations.rows(mixed)[0].changed == "/a/b.nix, c.nix"


def test_the_difference() -> None:
    """What changed is marked, what is the same is said to be."""
    assert "\n".join(difference.lines(DIFFERENCE)) == snapshot("""\
generation 3 → 4
system  nixos-system-demo (aaaaaaa) → nixos-system-demo (bbbbbbb)
kernel  linux-6.12 (kkkkkkk) → linux-6.13 (lllllll)
initrd  the same
kernel parameters:
  + debug
  - quiet
units:
  + a.service
  ~ b.service
other files below etc:
  ~ motd
  - old/
packages, as nix store diff-closures tells them (from 8 KiB on):
    hello: 1.0 → 1.1, +9.0 KiB\
""")


def test_no_difference() -> None:
    """Each part says that it is the same, so that nobody takes silence for it."""
    same = replace(
        DIFFERENCE, toplevel_after=DIFFERENCE.toplevel_before, kernel_after=DIFFERENCE.kernel_before,
        parameters_added=(), parameters_removed=(), units=(), etc=(), closure=(),
    )  # fmt: skip
    said = difference.lines(same)
    assert len(said) == 8
    assert all(line.endswith(("the same", "no difference")) for line in said[1:])
    turned = difference.lines(replace(same, parameters_reordered=True))
    assert "  ~ their order" in turned


def test_folders_with_many_changes_are_one_line() -> None:
    """A new time zone database does not hide the one file that the user changed; nothing is left out silently."""
    zones = tuple(Change(f"zoneinfo/z{n}", ChangeKind.CHANGED) for n in range(400))
    many = replace(
        DIFFERENCE, etc=(Change("motd", ChangeKind.CHANGED), *zones, Change("zoneinfo/new", ChangeKind.ADDED))
    )
    assert "  ~ zoneinfo/: 1 added, 400 changed" in difference.lines(many)
    assert "  ~ motd" in difference.lines(many)
    flat = replace(DIFFERENCE, etc=tuple(Change(f"f{n}", ChangeKind.CHANGED) for n in range(250)))
    assert "    and 50 more" in difference.lines(flat)
    cut = replace(DIFFERENCE, etc_incomplete="only the first 50000 files were compared")
    assert "    only the first 50000 files were compared" in difference.lines(cut)


@pytest.mark.parametrize("width", [30, 60, 80, 120, 200])
def test_the_table_keeps_to_the_terminal(width: int) -> None:
    """No line is wider than the terminal, and on a wide one the table says what the columns say."""
    lines = tables.history(HISTORY, width)
    assert all(line.cell_len <= width for line in lines[:-1])
    if width >= 120:
        said = [line.split() for line in generations.lines(HISTORY)]
        assert [line.plain.split() for line in lines] == said


def test_both_are_harmless_on_a_terminal() -> None:
    """Hostile names, problems and closures reach neither lines nor styled text."""
    one = replace(BASE, reason=HOSTILE, problem=None, changes=(HOSTILE, "/x"))
    bad = replace(
        HISTORY,
        booted_system=HOSTILE,
        booted=None,
        problems=(HOSTILE,),
        generations=(one, replace(one, problem=HOSTILE)),
    )
    worse = replace(
        DIFFERENCE, toplevel_after=HOSTILE, parameters_added=(HOSTILE,), units=(Change(HOSTILE, ChangeKind.ADDED),),
        etc=(Change(HOSTILE, ChangeKind.ADDED),), closure=(HOSTILE,),
    )  # fmt: skip
    texts = [*generations.lines(bad), *difference.lines(worse)]
    texts += [line.plain for line in (*tables.history(bad, 80), *tables.diff(worse))]
    for text in texts:
        assert text.replace("\ufffd", "").isprintable()


@pytest.mark.parametrize("output", [Output.PLAIN, Output.JSON])
def test_the_outputs_take_both(output: Output) -> None:
    """Each is a result: on stdout, and nothing on stderr."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with sink(output, stdout, stderr, SystemClock()) as presenter:
        presenter.handle(Stamped(1, TIME, "demo", None, HISTORY))
        presenter.handle(Stamped(2, TIME, "demo", None, DIFFERENCE))
    assert "modules/b.nix" in stdout.getvalue()
    assert "hello: 1.0 → 1.1" in stdout.getvalue()
    assert stderr.getvalue() == ""
