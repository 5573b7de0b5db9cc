"""What happens to a guest between cycles while `watch` runs, and what other commands have `watch` do."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e import victims

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.lab import Lab, Watch


REVIVALS = 3


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    """A guest of a user who is not root, verified."""
    lab = make_lab(as_user=True)
    assert lab.loop("create", "--start").returncode == 0
    yield lab
    lab.remove()


@pytest.fixture(scope="module")
def watch(lab: Lab) -> Iterator[Watch]:
    """One `watch` for all of them, past its first cycle."""
    with lab.watch() as watch:
        watch.finished()
        yield watch


def test_a_reboot_in_the_guest(lab: Lab, watch: Watch) -> None:
    """It comes back on the current generation, verified, without a build."""
    before, system = lab.boot_id(), lab.booted()
    lab.run("nixvm-loop", "ssh", "reboot")
    assert watch.wait_for(lambda event: event["type"] == "cycle_started")["reason"] == "the guest rebooted"
    ended = watch.finished()
    assert (ended["verdict"], ended["action"]) == ("ok", "restart")
    assert lab.boot_id() != before
    assert lab.booted() == system


def test_qemu_dies(lab: Lab, watch: Watch) -> None:
    """Nobody wanted that: the guest comes back."""
    victims.kill(victims.qemu(lab))
    assert "QEMU died" in watch.wait_for(lambda event: event["type"] == "cycle_started")["reason"]
    assert watch.finished()["verdict"] == "ok"
    assert lab.booted() == lab.toplevel()


def test_virtiofsd_dies(lab: Lab, watch: Watch) -> None:
    """Libvirt does not notice and the guest would hang; it comes back, although it was restarted before."""
    victims.kill(victims.virtiofsd(lab))
    assert "virtiofsd died" in watch.wait_for(lambda event: event["type"] == "cycle_started")["reason"]
    assert watch.finished()["verdict"] == "ok"
    assert lab.booted() == lab.toplevel()


def test_a_power_off_is_respected(lab: Lab, watch: Watch) -> None:
    """It is told, the guest stays off, and the next save starts it."""
    lab.run("nixvm-loop", "ssh", "poweroff")
    told = watch.wait_for(lambda event: event["type"] == "notice")
    assert "powered off" in told["message"]
    assert lab.domain_state() == "shut off"
    lab.edit("configuration.nix", "Hello from the mini guest.", "Back again.")
    ended = watch.finished()
    assert (ended["verdict"], ended["action"]) == ("ok", "restart")
    assert lab.guest("cat /etc/motd") == "Back again."


def test_an_operator_who_pauses_the_domain(lab: Lab, watch: Watch) -> None:
    """It is told at once, and so is its going on; neither starts a cycle."""
    for command, state in (("suspend", "paused"), ("resume", "running")):
        lab.virsh(command, lab.name)
        told = watch.wait_for(lambda event: event["type"] in {"domain_state", "cycle_started"})
        assert (told["type"], told.get("state")) == ("domain_state", state)


def test_an_operator_who_stops_the_domain(lab: Lab, watch: Watch) -> None:
    """`virsh destroy` is respected too; `rebuild` has `watch` start the guest, and gets that cycle as its own."""
    lab.virsh("destroy", lab.name)
    assert "was stopped" in watch.wait_for(lambda event: event["type"] == "notice")["message"]
    assert lab.domain_state() == "shut off"
    done = lab.loop("rebuild", "-o", "json")
    assert done.returncode == 0, done.stderr
    ended = json.loads(done.stdout.splitlines()[-1])
    assert (ended["type"], ended["verdict"]) == ("cycle_finished", "ok")
    assert watch.finished()["cycle"] == ended["cycle"]
    assert lab.booted() == lab.toplevel()


def test_a_rebuild_that_fails_under_watch(lab: Lab, watch: Watch) -> None:
    """The client exits with the code of the cycle that `watch` ran for it, and says what that cycle's end said."""
    with lab.edited("configuration.nix", "motd =", "motd"):
        assert watch.finished()["verdict"] == "failed"
        done = lab.loop("rebuild")
    assert done.returncode == 3
    assert "configuration.nix:" in done.stdout
    assert watch.finished()["verdict"] == "failed"
    assert watch.finished()["verdict"] == "unchanged"


def test_rollback_under_watch(lab: Lab, watch: Watch) -> None:
    """`rollback` goes to the generation before, and to one by number; the guest itself says so."""
    before = lab.booted()
    assert lab.loop("rollback").returncode == 0
    assert watch.finished()["action"] == "restart"
    older = lab.booted()
    assert older != before
    number = (lab.state / "current").readlink().name if (lab.state / "current").is_symlink() else ""
    assert number
    newest = max(int(path.name) for path in (lab.state / "generations").iterdir())
    assert lab.loop("rollback", str(newest)).returncode == 0
    assert watch.finished()["generation"] == newest
    assert lab.booted() == before
    assert lab.loop("rollback", "999").returncode == 4


def test_a_reset_from_outside(lab: Lab, watch: Watch) -> None:
    """`virsh reset` is no power-off: the guest comes back, on the current generation."""
    before, system = lab.boot_id(), lab.booted()
    lab.virsh("reset", lab.name)
    assert watch.wait_for(lambda event: event["type"] == "cycle_started")["reason"] == "the guest rebooted"
    assert watch.finished()["verdict"] == "ok"
    assert lab.boot_id() != before
    assert lab.booted() == system


def test_a_reset_during_the_verification(lab: Lab, watch: Watch) -> None:
    """The new system is not to blame for it: nothing is rolled back, and it comes back on that very system."""
    table, before = f"[guests.{lab.name}.apply]", lab.booted()
    slow = f'[[guests.{lab.name}.checks]]\nname = "slow"\ncommand = "sleep 5"\n\n{table}'
    with lab.configured(table, slow), lab.edited("configuration.nix", 'motd = "', 'motd = "reset '):
        watch.wait_for(lambda event: event["type"] == "stage_started" and event["stage"] == "verify")
        watch.wait_for(lambda event: event["type"] == "check_finished")
        lab.virsh("reset", lab.name)
        failed = watch.finished()
        assert (failed["verdict"], "was reset" in failed["error"]["message"]) == ("failed", True), failed
        back = watch.finished()
        assert (back["verdict"], back["generation"]) == ("ok", failed["generation"]), back
        assert lab.booted() == lab.toplevel() != before
    assert watch.finished()["verdict"] == "ok"


def test_status_tells_of_watch(lab: Lab, watch: Watch) -> None:
    """`status` names the process that looks after the guest."""
    done = lab.loop("status")
    assert done.returncode == 0
    assert str(watch.process.pid) in done.stdout + done.stderr


def test_a_change_of_the_config(lab: Lab, watch: Watch) -> None:
    """It holds from then on, whatever it is; a mistake is told, and the former config holds."""
    table = f"[guests.{lab.name}.apply]"
    check = f'[[guests.{lab.name}.checks]]\nname = "never"\ncommand = "false"\n\n'
    with lab.configured(table, check + table):
        ended = watch.finished()
        assert (ended["verdict"], ended["exit_code"], ended["action"]) == ("failed", 7, "none")
        assert "never" in ended["error"]["message"]
    assert watch.finished()["verdict"] == "unchanged"
    with lab.configured(table, f"bogus = 1\n{table}"):
        told = watch.wait_for(lambda event: event["type"] == "notice" and event["severity"] == "error")
        assert "bogus" in told["message"]
    assert lab.domain_state() == "running"


def test_a_comment_in_the_config(lab: Lab, watch: Watch) -> None:
    """What changes nothing starts nothing: the next cycle is that of the save after it."""
    with lab.configured("[guests.", "# a comment\n[guests."):
        time.sleep(1)
        lab.edit("configuration.nix", "motd =", "# the motd\n  motd =")
        started = watch.wait_for(lambda event: event["type"] == "cycle_started")
    assert started["reason"] == "changed: configuration.nix"
    assert watch.finished()["verdict"] == "unchanged"


def test_who_keeps_the_share_read_only(lab: Lab, watch: Watch) -> None:
    """Root in the guest can write to the host's store just where the check says that the host would let him."""
    assert watch.process.poll() is None
    told = [json.loads(line) for line in lab.loop("verify", "-o", "json").stdout.splitlines()]
    (actual,) = (event["actual"] for event in told if event.get("check") == "store-share-readonly")
    share = "/nix/.ro-store"
    probe = (
        f"mount -o remount,rw {share} && touch {share}/probe && rm {share}/probe; echo $?; mount -o remount,ro {share}"
    )
    written = lab.guest(f"({probe}) 2>/dev/null").splitlines()[-1] == "0"
    assert written == (not lab.world.readonly_enforced)
    assert ("the host would let root" in actual) == written


def test_libvirtd_is_killed_and_started_again(lab: Lab, watch: Watch) -> None:
    """`watch` connects anew: the next save is a cycle, and a reboot is still noticed."""
    libvirtd = victims.Daemon.named("libvirtd")
    libvirtd.kill()
    victims.start_libvirtd(libvirtd, lab)
    lab.edit("configuration.nix", "Back again.", "Libvirt is back.")
    assert watch.finished()["verdict"] == "ok"
    assert lab.guest("cat /etc/motd") == "Libvirt is back."
    time.sleep(3)
    lab.run("nixvm-loop", "ssh", "reboot")
    assert watch.wait_for(lambda event: event["type"] == "cycle_started")["reason"] == "the guest rebooted"
    assert watch.finished()["verdict"] == "ok"


def test_a_guest_that_ends_while_libvirt_is_away(lab: Lab, watch: Watch) -> None:
    """Nobody tells how it went, but when libvirt is back it is missed, and comes back on its current generation."""
    before, system, libvirtd = lab.boot_id(), lab.booted(), victims.Daemon.named("libvirtd")
    libvirtd.kill()
    victims.kill(victims.qemu(lab))
    victims.start_libvirtd(libvirtd, lab)
    reason = watch.wait_for(lambda event: event["type"] == "cycle_started")["reason"]
    assert reason in {"the guest is off since libvirt was away", "the guest is gone: QEMU died"}
    ended = watch.finished()
    assert (ended["verdict"], ended["action"]) == ("ok", "restart")
    assert lab.boot_id() != before
    assert lab.booted() == system


def test_a_guest_that_goes_down_again_and_again(lab: Lab, watch: Watch) -> None:
    """After three times in a row it is left alone, which is told; the next save starts it again."""
    lab.edit("configuration.nix", "Libvirt is back.", "Once more.")
    assert watch.finished()["verdict"] == "ok"
    for _ in range(REVIVALS):
        victims.kill(victims.qemu(lab))
        assert watch.finished()["verdict"] == "ok"
    victims.kill(victims.qemu(lab))
    told = watch.wait_for(lambda event: event["type"] == "notice")
    assert "again and again, and is left alone until the next save" in told["message"]
    time.sleep(1)
    assert lab.domain_state() == "shut off"
    lab.edit("configuration.nix", "Once more.", "Back for good.")
    started = watch.wait_for(lambda event: event["type"] == "cycle_started")
    assert started["reason"] == "changed: configuration.nix"
    assert watch.finished()["verdict"] == "ok"
    assert lab.guest("cat /etc/motd") == "Back for good."
