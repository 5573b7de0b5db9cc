from __future__ import annotations

import io
from datetime import timedelta
from functools import reduce as fold
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot
from rich.console import Console

from nixvm_loop.events import types as ev
from nixvm_loop.events.types import ActivityKind, ActivityState
from nixvm_loop.model.values import Severity, Stage
from nixvm_loop.present.frame import frame, render
from nixvm_loop.present.reducer import reduce
from nixvm_loop.present.state import ViewState
from tests.present.scenario import (
    CONSOLE,
    FAILED_CHECK,
    ROOT,
    Script,
    activity,
    bad_cycle,
    check,
    good_cycle,
    hostile_run,
    whole_run,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixvm_loop.events.types import Stamped


def picture(events: Sequence[Stamped], width: int = 80, height: int = 24, later_s: float = 0.0) -> str:
    """The frame after the last event, `later_s` seconds on."""
    state = fold(reduce, events, ViewState())
    stream = io.StringIO()
    console = Console(file=stream, width=width, height=height, color_system=None, legacy_windows=False)
    console.print(render(state, width, height, events[-1].time + timedelta(seconds=later_s)))
    return "\n".join(line.rstrip() for line in stream.getvalue().rstrip("\n").split("\n")) + "\n"


def loop() -> Script:
    script = Script()
    script.say(ev.LoopStarted((ROOT,), 12), ev.DomainState("running"))
    bad_cycle(script, 1)
    good_cycle(script, 2, "guest.nix changed")
    return script


def building() -> Script:
    script = loop()
    script.cycle = 3
    script.say(ev.CycleStarted("guest.nix and 2 more changed"), ev.StageStarted(Stage.EVAL))
    script.say(ev.StageFinished(Stage.EVAL, True, 1.2), ev.StageStarted(Stage.REALISE), after=1.2)
    for number, name in enumerate(("linux-6.6.63", "etc", "initrd-linux-6.6.63", "nixos-system-demo-24.11")):
        script.say(activity(number, ActivityKind.BUILD, ActivityState.STARTED, name, phase="buildPhase"))
        script.say(ev.BuildLog(name, f"building part of {name}"))
    script.say(
        activity(9, ActivityKind.DOWNLOAD, ActivityState.STARTED, "openssl-3.0.13"),
        activity(9, ActivityKind.DOWNLOAD, ActivityState.RUNNING, "openssl-3.0.13", done=3_500_000, expected=6_200_000),
        ev.BuildProgress(3, 12, 4, 0),
    )
    return script


def booting() -> Script:
    script = loop()
    script.cycle = 3
    script.say(ev.CycleStarted("guest.nix changed"))
    for stage in (Stage.EVAL, Stage.REALISE, Stage.FLIP, Stage.DOMAIN):
        script.stage(stage, 0.5)
    script.say(ev.StageStarted(Stage.BOOT), *CONSOLE, ev.GuestWaiting(3, 4.5), ev.ChangesSeen((f"{ROOT}/a.nix", "/b")))
    return script


def verifying() -> Script:
    script = loop()
    script.cycle = 3
    script.say(ev.CycleStarted("guest.nix changed"))
    for stage in (Stage.EVAL, Stage.REALISE, Stage.FLIP, Stage.DOMAIN, Stage.BOOT):
        script.stage(stage, 0.5)
    script.say(ev.StageStarted(Stage.VERIFY), *(check(name) for name in ("boot-id", "system", "cmdline", "kernel")))
    script.say(FAILED_CHECK, ev.CheckFinished("failed-units", None, False, "none", "not checked", "no systemd"))
    return script


def test_idle() -> None:
    """Between cycles two lines say where the guest stands and how the last cycles went; no time in them runs."""
    script = loop()
    assert picture(script.events) == snapshot("""\
────────────────────────────────────────────────────────────────────────────────
✓ demo · domain running · generation 2           waiting for changes in 12 files
last   ✓ 2 8.2s restart   ✗ 1 0.5s
""")
    assert picture(script.events, later_s=3600) == picture(script.events)


def test_paused() -> None:
    """It is said how many saved files wait, as far as there is room."""
    script = loop()
    script.cycle = None
    script.say(ev.LoopPaused(paused=True, waiting=0))
    assert picture(script.events).splitlines()[1].endswith(" paused: p goes on")
    script.say(ev.LoopPaused(paused=True, waiting=300))
    assert "generation 2   paused, 300 saved files wait: p goes on\n" in picture(script.events)
    assert picture(script.events, width=70).splitlines()[1].endswith(" paused, 300 saved files wait")
    assert picture(script.events, width=50).splitlines()[1].endswith(" paused")
    script.say(ev.LoopPaused(paused=False, waiting=0))
    assert "waiting for changes in 12 files" in picture(script.events)


def test_what_follows() -> None:
    """The last key of those that were typed during a cycle; the next cycle takes it."""
    script = building()
    script.say(ev.OrderNoted("restart"), ev.OrderNoted("switch"))
    assert "\nthen: a switch\n" in picture(script.events)
    script.cycle = 4
    script.say(ev.CycleStarted("asked for"))
    assert "then:" not in picture(script.events)


def test_building() -> None:
    """What is built and fetched, how far, and since when."""
    assert picture(building().events, later_s=2.0) == snapshot("""\
────────────────────────────────────────────────────────────────────────────────
demo  cycle 3  guest.nix and 2 more changed                                 5.6s
✓ eval 1.2s  ● realise 3.1s  ○ flip  ○ domain  ○ boot  ○ verify
3 of 12 built · 4 running
▸ linux-6.6.63               3.0s  buildPhase  building part of linux-6.6.63
▸ etc                        2.8s  buildPhase  building part of etc
▸ initrd-linux-6.6.63        2.6s  buildPhase  building part of initrd-linux-6.…
▸ nixos-system-demo-24.11    2.4s  buildPhase  building part of nixos-system-de…
↓ openssl-3.0.13             2.2s  3.3 MiB of 5.9 MiB
last   ✓ 2 8.2s restart   ✗ 1 0.5s
""")


def test_building_narrow_and_low() -> None:
    """With 40 columns and 12 lines the stages wrap and the list of derivations is cut, with its rest counted."""
    assert picture(building().events, width=40, height=12) == snapshot("""\
────────────────────────────────────────
demo  cycle 3  guest.nix and 2 mor… 3.6s
✓ eval 1.2s  ● realise 1.1s  ○ flip
○ domain  ○ boot  ○ verify
3 of 12 built · 4 running
▸ linux-6.6.63    1.0s  buildPhase  bui…
▸ etc             0.8s  buildPhase  bui…
▸ initrd-linux…   0.6s  buildPhase  bui…
▸ nixos-system…   0.4s  buildPhase  bui…
↓ openssl-3.0.…   0.2s  3.3 MiB of 5.9 …
last   ✓ 2 8.2s restart   ✗ 1 0.5s
""")


def test_booting_wide() -> None:
    """The console's tail and the wait for the guest; a save that came meanwhile is announced."""
    assert picture(booting().events, width=120, height=40) == snapshot("""\
────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
demo  cycle 3  guest.nix changed                                                                                    3.0s
✓ eval 0.5s  ✓ realise 0.5s  ✓ flip 0.5s  ✓ domain 0.5s  ● boot 0.9s  ○ verify
saved meanwhile: a.nix and 1 more
│ [    1.104217] virtiofs: mounting nix-store-share
│ [    2.204217] overlayfs: upperdir on tmpfs
│ [    3.304217] stage-2: /nix/store is read-only
│ [    4.404217] sshd: host key announced
│ [    5.504217] sshd: listening on port 22
│ [    6.604217] demo login:
waiting for the guest, attempt 3, 4.5s
last   ✓ 2 8.2s restart   ✗ 1 0.5s
""")


def test_booting_low() -> None:
    """With little room the console's newest lines stay."""
    assert picture(booting().events, height=10) == snapshot("""\
demo  cycle 3  guest.nix changed                                            3.0s
✓ eval 0.5s  ✓ realise 0.5s  ✓ flip 0.5s  ✓ domain 0.5s  ● boot 0.9s  ○ verify
saved meanwhile: a.nix and 1 more
│ [    3.304217] stage-2: /nix/store is read-only
│ [    4.404217] sshd: host key announced
│ [    5.504217] sshd: listening on port 22
│ [    6.604217] demo login:
waiting for the guest, attempt 3, 4.5s
last   ✓ 2 8.2s restart   ✗ 1 0.5s
""")


def test_verifying() -> None:
    """Checks as they come; the one that failed says what was expected, what was seen and what to do."""
    assert picture(verifying().events) == snapshot("""\
────────────────────────────────────────────────────────────────────────────────
demo  cycle 3  guest.nix changed                                            3.2s
✓ eval 0.5s ✓ realise 0.5s ✓ flip 0.5s ✓ domain 0.5s ✓ boot 0.5s ● verify 0.6s
✗ store-overlay
  expected: overlay on /nix/store, lower /nix/.ro-store
  actual:   virtiofs
  hint:     the overlay is missing from the guest's initrd
✓ boot-id  ✓ system  ✓ cmdline  ✓ kernel  ○ failed-units
last   ✓ 2 8.2s restart   ✗ 1 0.5s
""")


def test_a_problem_while_it_runs() -> None:
    """A diagnostic is shown at once, below the flake's root, while the cycle still runs."""
    script = loop()
    script.cycle = 3
    script.say(ev.CycleStarted("guest.nix changed"), ev.StageStarted(Stage.EVAL))
    script.say(ev.DiagnosticSeen(f"{ROOT}/guest.nix", 12, 3, Severity.ERROR, "syntax error, unexpected '}'"))
    assert picture(script.events) == snapshot("""\
────────────────────────────────────────────────────────────────────────────────
demo  cycle 3  guest.nix changed                                            0.2s
● eval 0.1s  ○ realise  ○ flip  ○ domain  ○ boot  ○ verify
error guest.nix:12:3: syntax error, unexpected '}'
last   ✓ 2 8.2s restart   ✗ 1 0.5s
""")


def test_the_list_of_builds_does_not_jump() -> None:
    """While it builds, a derivation that ends leaves its line free, so that what is below keeps its place."""
    script = building()
    before = picture(script.events)
    script.say(activity(0, ActivityKind.BUILD, ActivityState.STOPPED, "linux-6.6.63"))
    after = picture(script.events)
    assert "linux-6.6.63" not in after.replace("initrd-linux-6.6.63", "")
    assert len(after.split("\n")) == len(before.split("\n"))


@pytest.mark.parametrize(
    "events", [whole_run(), hostile_run(), building().events, booting().events, verifying().events]
)
@settings(max_examples=20)
@given(width=st.integers(1, 150), height=st.integers(1, 50), data=st.data())
def test_a_frame_never_exceeds_the_terminal(
    events: list[Stamped], width: int, height: int, data: st.DataObject
) -> None:
    """At every moment of every run, in a terminal of any size, the frame fits and has only harmless characters."""
    count = data.draw(st.integers(1, len(events)))
    lines = frame(fold(reduce, events[:count], ViewState()), width, height, events[count - 1].time)
    assert len(lines) <= max(height - 1, 0)
    for line in lines:
        assert line.cell_len <= width
        assert line.plain.replace("\ufffd", "").isprintable()
