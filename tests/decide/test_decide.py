from __future__ import annotations

from pathlib import Path

from nixvm_loop.decide import Seen, Wish, decide
from nixvm_loop.model.values import Action, Artifacts, Generation

STORE = Path("/nix/store")
ARTIFACTS = Artifacts(
    STORE / "aaaaaaaaaa-system", STORE / "kkkkkkkkkk-linux-6.12.8/bzImage", STORE / "iiiiiiiiii-initrd/initrd", (), "a"
)
CMDLINE = "init=/nix/store/aaaaaaaaaa-system/init quiet"
CURRENT = Generation(3, Path("/s/3"), ARTIFACTS.toplevel, ARTIFACTS.kernel, ARTIFACTS.initrd, CMDLINE)


def test_a_sound_guest_on_the_built_system_is_left_alone() -> None:
    """Nothing is due, and the reason says so."""
    decision = decide(Wish.AS_NEEDED, ARTIFACTS, CMDLINE, CURRENT, Seen(running=True))
    assert decision.action is Action.NONE
    assert decision.reasons == ("the guest already runs the built system",)


def test_each_cause_of_a_restart_is_named() -> None:
    """Every single difference is enough for a restart and is told in words with old and new."""
    old = Generation(
        2,
        Path("/s/2"),
        STORE / "bbbbbbbbbb-system",
        STORE / "llllllllll-linux-6.12.7/bzImage",
        STORE / "jjjjjjjjjj-initrd/initrd",
        "init=/nix/store/bbbbbbbbbb-system/init debug",
    )
    decision = decide(Wish.RESTART, ARTIFACTS, CMDLINE, old, Seen(running=False))
    assert decision.action is Action.RESTART
    assert decision.reasons == (
        "a restart was asked for",
        "the domain is not running",
        "kernel linux-6.12.7 (lllllll) → linux-6.12.8 (kkkkkkk)",
        "initrd initrd (jjjjjjj) → initrd (iiiiiii)",
        "kernel parameter added: quiet",
        "kernel parameter removed: debug",
        "system bbbbbbb → aaaaaaa",
    )


def test_a_guest_that_is_not_sound_is_restarted() -> None:
    """The same system, but the guest said something else, or nothing."""
    seen = Seen(running=True, trouble="the guest does not answer")
    assert decide(Wish.AS_NEEDED, ARTIFACTS, CMDLINE, CURRENT, seen).reasons == ("the guest does not answer",)


def test_the_first_generation_is_a_restart() -> None:
    """Without a current generation there is nothing to compare with."""
    decision = decide(Wish.AS_NEEDED, ARTIFACTS, CMDLINE, None, Seen(running=True))
    assert decision.reasons == ("this is the first generation",)
