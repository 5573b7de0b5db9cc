from __future__ import annotations

from pathlib import Path

import pytest

from nixvm_loop import verify
from nixvm_loop.doctor import guest
from nixvm_loop.doctor.probe import Cure, Remedy
from nixvm_loop.errors import AccessError, GuestError, HostKeyError, NixvmLoopError
from nixvm_loop.model.facts import GuestFacts, Mount, Space
from nixvm_loop.model.values import Action, Outcome, Severity
from nixvm_loop.verify import Expected, Unseen

NONE = Unseen((), (), (), ())
SYSTEM = Path("/nix/store/1-system")
EXPECTED = Expected(
    action=Action.NONE,
    system=SYSTEM,
    booted_system=SYSTEM,
    cmdline=f"init={SYSTEM}/init",
    kernel=Path("/nix/store/1-linux/bzImage"),
    initrd=Path("/nix/store/1-initrd/initrd"),
    live_kernel=None,
    live_initrd=None,
)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (HostKeyError("what answers SSH for guest demo does not show the guest's host key"), "host-key-changed"),
        (AccessError("guest demo does not accept the key /k for user root"), "ssh-key-refused"),
        (GuestError("guest demo did not answer SSH within 3s (last: Permission denied for root)"), "ssh-key-refused"),
        (GuestError("there is no SSH key /state/ssh/id_ed25519"), "ssh-key-unusable"),
        (GuestError("guest demo did not answer SSH on 127.0.0.1:22 within 3s"), "guest-unreached"),
    ],
)
def test_why_a_guest_does_not_let_us_in(error: GuestError, name: str) -> None:
    """Each way of not being reached has a name of its own, keeps its words, and says what to do."""
    found = guest.judge_reach(error)
    assert (found.id, found.severity, found.evidence) == (name, Severity.ERROR, error.message)
    assert found.fix


def test_failed_checks_are_findings_under_their_ids() -> None:
    """All that `verify` fails is found, errors where it is required, with what was seen and expected."""
    facts = GuestFacts(rw_store=Space(90, 100, 1, 100), system_state="degraded", failed_units=("a.service",))
    checks = [check for check in verify.checks(EXPECTED, facts) if check.id != "store-complete"]
    found = {one.id: one for one in guest.judge_checks(checks)}
    assert found.keys() == {check.id for check in checks if check.outcome is Outcome.FAILED}
    assert {"system", "cmdline", "kernel", "store-share", "store-overlay", "rw-store-space"} <= found.keys()
    assert found["system"].severity is Severity.ERROR
    assert "booted nothing" in found["system"].evidence
    assert str(SYSTEM) in found["system"].evidence
    assert found["failed-units"].severity is Severity.WARNING
    assert all(one.fix and one.cause for one in found.values())


def test_a_check_that_was_not_made_is_no_finding() -> None:
    """A guest that lacks the means is not ill."""
    facts = GuestFacts(lacks=("stat",))
    (space,) = (check for check in verify.checks(EXPECTED, facts) if check.id == "rw-store-space")
    assert guest.judge_checks([space]) == ()


@pytest.mark.parametrize(
    ("unseen", "name", "curable"),
    [
        (Unseen(("/nix/store/a",), (), (), ()), "store-hidden", True),
        (Unseen((), ("/nix/store/a",), (), ()), "store-stale", True),
        (Unseen((), (), ("/nix/store/a",), ()), "store-gone", False),
        (Unseen((), (), (), ("/nix/store/a",)), "store-absent", False),
    ],
)
def test_unseen_paths_are_told_apart(unseen: Unseen, name: str, curable: bool) -> None:  # noqa: FBT001  # a parameter
    """Each reason has its own name and fix; --fix drops caches only where that helps."""
    (found,) = guest.judge_coherence(unseen)
    assert (found.id, found.evidence) == (name, "/nix/store/a")
    assert (found.cure == Cure(Remedy.DROP_CACHES)) is curable
    assert "nixvm-loop" in found.fix


def test_many_unseen_paths() -> None:
    """Some are named, the rest is counted; none is nothing to tell."""
    (found,) = guest.judge_coherence(Unseen(tuple(f"/nix/store/{number}" for number in range(9)), (), (), ()))
    assert found.evidence.startswith("/nix/store/0, /nix/store/1,")
    assert found.evidence.endswith(" and 4 more")
    assert guest.judge_coherence(NONE) == ()


def store(**options: str) -> Mount:
    """An overlay with these options."""
    return Mount(31, 30, "/", "/nix/store", frozenset({"ro"}), "overlay", "overlay", options)


def test_features_of_the_overlay() -> None:
    """Those that need a lower layer which stands still are found, with the options that turn them off."""
    (found,) = guest.judge_features(store(index="on", redirect_dir="on", lowerdir="/nix/.ro-store"))
    assert found.id == "overlay-features"
    assert '[ "index=off", "redirect_dir=off" ]' in found.fix
    assert guest.judge_features(store(lowerdir="/a", index="off")) == ()
    assert guest.judge_features(None) == ()


def test_a_reboot_from_within() -> None:
    """Another boot in the same run of the domain is one; the same boot, another run, or an unknown one is none."""
    now = GuestFacts(boot_id="b")
    assert [one.id for one in guest.judge_reboot("a", now, same_run=True)] == ["rebooted-inside"]
    assert guest.judge_reboot("b", now, same_run=True) == ()
    assert guest.judge_reboot("a", now, same_run=False) == ()
    assert guest.judge_reboot(None, now, same_run=True) == ()


def test_every_error_of_the_guest_room_is_a_finding() -> None:
    """Nothing that `reach` raises is passed over."""
    kinds: list[type[NixvmLoopError]] = [GuestError, *GuestError.__subclasses__()]
    assert all(guest.judge_reach(kind("no")).id for kind in kinds if issubclass(kind, GuestError))


def test_modules_and_database() -> None:
    """A kernel without its modules and a Nix that knows nothing are found; a guest that has neither is well."""
    folder = "/run/booted-system/kernel-modules/lib/modules/6.1.0"
    ill = guest.judge_inside(f"modules no {folder}\ndatabase no /nix/store/1-system\n")
    assert [one.id for one in ill] == ["kernel-modules", "nix-database"]
    assert ill[0].evidence == f"no {folder}"
    assert guest.judge_inside("modules yes\ndatabase yes\n") == ()
    assert guest.judge_inside("modules none\ndatabase none\n") == guest.judge_inside("") == ()
