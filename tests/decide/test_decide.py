from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nixvm_loop.decide import Seen, Wish, decide, withheld
from nixvm_loop.model.settings import ApplyMode
from nixvm_loop.model.values import Action, System

STORE = Path("/nix/store")
OLD = System(
    toplevel=STORE / "bbbbbbbbbb-system",
    cmdline="init=/nix/store/bbbbbbbbbb-system/init debug",
    kernel=STORE / "llllllllll-linux-6.12.8/bzImage",
    initrd=STORE / "jjjjjjjjjj-initrd/initrd",
    modules=STORE / "mmmmmmmmmm-modules",
    release="6.12.8",
    init_interface="systemd 2",
    store_mounts=(("share", "/nix/.ro-store", "virtiofs", "ro"),),
    switchable=True,
)
# What most saves change.
NEW = replace(OLD, toplevel=STORE / "aaaaaaaaaa-system", cmdline="init=/nix/store/aaaaaaaaaa-system/init debug")
RUNNING = Seen(running=True, current=OLD, booted=OLD, runs=OLD.toplevel)


@pytest.mark.parametrize("mode", ApplyMode)
def test_a_sound_guest_on_the_built_system_is_left_alone(mode: ApplyMode) -> None:
    """Nothing is due, and the reason says so; having been switched to it is as good as having booted it."""
    seen = Seen(running=True, current=NEW, booted=OLD, runs=NEW.toplevel)
    decision = decide(Wish.AS_NEEDED, mode, NEW, seen)
    assert decision.action is Action.NONE
    assert decision.reasons == ("the guest already runs the built system",)


def test_a_changed_system_is_restarted_or_switched_by_the_mode() -> None:
    """Where only a boot could not tell the difference, the mode decides, and `s` in any mode."""
    assert decide(Wish.AS_NEEDED, ApplyMode.RESTART, NEW, RUNNING).action is Action.RESTART
    for mode in (ApplyMode.AUTO, ApplyMode.SWITCH):
        decision = decide(Wish.AS_NEEDED, mode, NEW, RUNNING)
        assert decision.action is Action.SWITCH
        assert decision.reasons == ("system bbbbbbb → aaaaaaa, and nothing that takes a boot",)
    assert decide(Wish.SWITCH, ApplyMode.RESTART, NEW, RUNNING).action is Action.SWITCH
    assert decide(Wish.RESTART, ApplyMode.SWITCH, NEW, RUNNING).action is Action.RESTART


@pytest.mark.parametrize("mode", ApplyMode)
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"kernel": STORE / "kkkkkkkkkk-linux-6.12.9/bzImage", "release": "6.12.9"},
            "kernel 6.12.8 → 6.12.9",
        ),
        (
            {"kernel": STORE / "kkkkkkkkkk-linux-6.12.8/bzImage"},
            "kernel linux-6.12.8 (lllllll) → linux-6.12.8 (kkkkkkk)",
        ),
        ({"modules": STORE / "nnnnnnnnnn-modules"}, "kernel modules modules (mmmmmmm) → modules (nnnnnnn)"),
        ({"modules": None}, "kernel modules modules (mmmmmmm) → none"),
        ({"initrd": STORE / "iiiiiiiiii-initrd/initrd"}, "initrd initrd (jjjjjjj) → initrd (iiiiiii)"),
        ({"cmdline": "init=/x debug quiet"}, "kernel parameter added: quiet"),
        ({"cmdline": "init=/x"}, "kernel parameter removed: debug"),
        ({"init_interface": "systemd 3"}, "init-interface-version systemd 2 → systemd 3"),
        (
            {"store_mounts": (("share", "/nix/.ro-store", "virtiofs", "ro,x"),)},
            "mount of the store added: share /nix/.ro-store virtiofs ro,x",
        ),
    ],
)
def test_each_cause_of_a_restart_is_named(mode: ApplyMode, changes: dict[str, Any], reason: str) -> None:
    """Every single difference that takes a boot is enough for a restart, in every mode, with old and new."""
    decision = decide(Wish.AS_NEEDED, mode, replace(NEW, **changes), RUNNING)
    assert decision.action is Action.RESTART
    assert reason in decision.reasons
    assert withheld(Wish.AS_NEEDED, mode, RUNNING, decision) is (mode is ApplyMode.SWITCH)


def test_only_what_was_booted_counts() -> None:
    """After a switch it is the booted system, not the current one, that the built one is compared with."""
    seen = replace(RUNNING, current=NEW, runs=NEW.toplevel)
    back = replace(OLD, toplevel=STORE / "cccccccccc-system")
    assert decide(Wish.AS_NEEDED, ApplyMode.AUTO, back, seen).action is Action.SWITCH
    other = replace(NEW, kernel=STORE / "kkkkkkkkkk-linux-6.12.9/bzImage")
    assert decide(Wish.AS_NEEDED, ApplyMode.AUTO, back, replace(seen, booted=other)).action is Action.RESTART


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (replace(RUNNING, running=False, booted=None, runs=None), "the domain is not running"),
        (replace(RUNNING, definition=("memory: 1 becomes 2",)), "the domain's definition changes: memory: 1 becomes 2"),
        (replace(RUNNING, booted=None), "what the guest has booted is not known here"),
        (replace(RUNNING, booted=None, runs=None, trouble="it does not answer"), "it does not answer"),
        (
            replace(RUNNING, current=NEW, runs=NEW.toplevel, trouble="check store-share failed"),
            "check store-share failed",
        ),
    ],
)
def test_a_guest_that_cannot_be_switched(seen: Seen, reason: str) -> None:
    """It is off, changed in its own definition, unknown, silent, or not sound."""
    decision = decide(Wish.AS_NEEDED, ApplyMode.AUTO, NEW, seen)
    assert decision.action is Action.RESTART
    assert reason in decision.reasons


def test_a_system_that_cannot_be_switched_to() -> None:
    """It has no switch-to-configuration."""
    decision = decide(Wish.AS_NEEDED, ApplyMode.AUTO, replace(NEW, switchable=False), RUNNING)
    assert decision.reasons == ("the system has no switch-to-configuration",)


def test_a_switch_that_was_cut_short_is_done_over() -> None:
    """The guest says that it runs the system, but nobody has seen the end of the switch to it."""
    seen = Seen(running=True, current=NEW, booted=OLD, runs=NEW.toplevel, cut_short=True)
    decision = decide(Wish.AS_NEEDED, ApplyMode.AUTO, NEW, seen)
    assert (decision.action, decision.reasons) == (Action.SWITCH, ("the switch to it was never verified",))


@pytest.mark.parametrize("wish", [Wish.AS_NEEDED, Wish.SWITCH])
def test_a_paused_guest_is_not_off(wish: Wish) -> None:
    """Starting it anew would take its memory away: with `switch` that is the user's to order."""
    seen = Seen(running=False, halted="paused", current=OLD)
    decision = decide(wish, ApplyMode.SWITCH, NEW, seen)
    assert "the domain is paused" in decision.reasons
    assert withheld(wish, ApplyMode.SWITCH, seen, decision)


def test_a_switch_takes_root() -> None:
    """Another user is a reason for a restart."""
    decision = decide(Wish.AS_NEEDED, ApplyMode.AUTO, NEW, replace(RUNNING, root=False))
    assert decision.reasons == ("a live switch takes root, and ssh.user is another",)


def test_parameters_are_counted() -> None:
    """One of two that are alike is a change as well."""
    twice = replace(OLD, cmdline="init=/x quiet quiet")
    decision = decide(
        Wish.AS_NEEDED, ApplyMode.AUTO, replace(NEW, cmdline="init=/y quiet"), replace(RUNNING, booted=twice)
    )
    assert decision.reasons == ("kernel parameter removed: quiet",)


def test_who_changed_the_guest_by_hand() -> None:
    """It booted the current generation and runs something else: a switch brings it back, whatever is current."""
    seen = Seen(running=True, current=NEW, booted=OLD, runs=STORE / "zzzzzzzzzz-system")
    assert decide(Wish.AS_NEEDED, ApplyMode.AUTO, NEW, seen).action is Action.SWITCH


def test_starting_is_never_withheld() -> None:
    """With `switch` a guest that is off is started all the same; there is nothing to lose."""
    seen = Seen(running=False, current=OLD)
    decision = decide(Wish.AS_NEEDED, ApplyMode.SWITCH, NEW, seen)
    assert decision.action is Action.RESTART
    assert not withheld(Wish.AS_NEEDED, ApplyMode.SWITCH, seen, decision)


def test_a_guest_that_is_not_sound_is_restarted() -> None:
    """The same system, but the guest said something else, or nothing."""
    seen = Seen(running=True, trouble="the guest does not answer", current=NEW)
    assert decide(Wish.AS_NEEDED, ApplyMode.RESTART, NEW, seen).reasons == ("the guest does not answer",)


def test_the_first_generation_is_a_restart() -> None:
    """Without a current generation there is nothing to compare with."""
    decision = decide(Wish.AS_NEEDED, ApplyMode.RESTART, NEW, Seen(running=True))
    assert decision.reasons == ("this is the first generation",)


@pytest.mark.parametrize("mode", ApplyMode)
@pytest.mark.parametrize(
    ("current", "more"),
    [(None, "this is the first generation"), (OLD, "system bbbbbbb → aaaaaaa"), (NEW, None)],
)
def test_a_guest_that_is_off_is_told_what_is_new_as_well(mode: ApplyMode, current: System | None, more: str) -> None:
    """In each mode alike; a system that is current already brings nothing new."""
    decision = decide(Wish.AS_NEEDED, mode, NEW, Seen(running=False, current=current))
    assert decision.reasons == ("the domain is not running", *([more] if more else []))


def test_a_forced_restart_tells_all() -> None:
    """Every reason at once."""
    decision = decide(Wish.RESTART, ApplyMode.RESTART, NEW, Seen(running=False, current=OLD))
    assert decision.reasons == (
        "a restart was asked for",
        "the domain is not running",
        "system bbbbbbb → aaaaaaa",
    )
