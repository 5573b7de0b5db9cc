"""The smallest sufficient action on the real guest: nothing, a live switch, or a restart, and what is behind each."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.lab import Lab

ATTRIBUTE = "nixosConfigurations.demo.config.system.build.toplevel"
UP = "[ -e /run/nixos/booted ]"  # activations run at boot as well


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    """A verified guest in the mode `auto`."""
    lab = make_lab()
    config = (lab.folder / "nixvm-loop.toml").read_text()
    lab.configure(
        config.replace("[guests.lab", "[guests.lab", 1).replace('stop = "force"', 'stop = "force"\nmode = "auto"')
    )
    assert lab.loop("create", "--start").returncode == 0
    yield lab
    lab.remove()


def events(lab: Lab, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    """What one `rebuild` tells; it has to end with this exit code."""
    done = lab.loop("rebuild", "-o", "json", *arguments)
    assert done.returncode == code, done.stdout[-3000:] + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def actions(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The actions that were chosen, each with its reasons."""
    return [(one["action"], "; ".join(one["reasons"])) for one in found if one["type"] == "action_chosen"]


def say(lab: Lab, words: str) -> None:
    """Change what the guest greets with, and nothing that takes a boot."""
    path = lab.flake / "configuration.nix"
    lines = [f'  motd = "{words}";' if "motd =" in line else line for line in path.read_text().splitlines()]
    lab.write(path, "\n".join(lines) + "\n")


def runs(lab: Lab) -> str:
    """Which system the guest says it runs now."""
    return lab.guest("readlink -f /run/current-system")


@contextmanager
def activating(lab: Lab, script: str) -> Iterator[None]:
    """The guest with an activation of its own."""
    with lab.edited("configuration.nix", 'activation = "";', f"activation = ''{script}'';"):
        yield


def test_a_file_of_the_system_is_live_without_a_boot(lab: Lab) -> None:
    """Same boot, same booted system, new current system and file; a reboot would boot the new one."""
    boot, booted = lab.boot_id(), lab.booted()
    say(lab, "Live.")
    found = events(lab)
    assert [action for action, _ in actions(found)] == ["switch"]
    assert [one["stage"] for one in found if one["type"] == "stage_finished"][-3:] == ["flip", "switch", "verify"]
    assert lab.guest("cat /etc/motd") == "Live."
    assert (lab.boot_id(), lab.booted()) == (boot, booted)
    assert runs(lab) == lab.toplevel() != booted
    assert f"init={lab.toplevel()}/init" in lab.virsh("dumpxml", "--inactive", lab.name)
    assert lab.loop("verify").returncode == 0
    status = json.loads(lab.loop("status", "-o", "json").stdout)
    assert (status["current"], status["booted"]) == (2, 1)
    kept = json.loads(lab.loop("history", "-o", "json").stdout)["generations"]
    assert [(one["number"], one["action"], one["current"], one["booted"], one["last_good"]) for one in kept] == [
        (2, "switch", True, False, False),
        (1, "restart", False, True, True),
    ]


def test_nothing_is_done_for_nothing(lab: Lab) -> None:
    """A guest that was switched to the built system already is left alone."""
    boot = lab.boot_id()
    assert actions(events(lab)) == [("none", "the guest already runs the built system")]
    assert lab.boot_id() == boot


def test_a_plan_changes_nothing(lab: Lab) -> None:
    """Action and reasons are told; generations, domain and guest are as before."""

    def state() -> tuple[object, ...]:
        kept = sorted(path.name for path in (lab.state / "generations").iterdir())
        return kept, os.readlink(lab.state / "current"), lab.virsh("dumpxml", lab.name), runs(lab), lab.boot_id()  # noqa: PTH115

    before = state()
    with lab.edited("configuration.nix", "Live.", "Planned."):
        assert actions(events(lab, "--plan"))[0][0] == "switch"
    with lab.edited("kernel-params.nix", '"quiet"', '"quiet" "planned=1"'):
        assert actions(events(lab, "--plan")) == [("restart", "kernel parameter added: planned=1")]
        plain = lab.loop("rebuild", "--plan")
    assert plain.stdout == "action restart: kernel parameter added: planned=1\n"
    assert actions(events(lab, "--plan")) == [("none", "the guest already runs the built system")]
    assert state() == before


def test_a_path_that_was_asked_for_too_early(lab: Lab) -> None:
    """The overlay goes on hiding what it was asked for before it was built; the switch works all the same."""
    say(lab, "Asked for too early.")
    path = lab.run("nix", "eval", "--raw", f"{lab.flake}#{ATTRIBUTE}.outPath").stdout
    assert lab.guest(f"[ -e {path} ] || echo missing") == "missing"
    built = lab.run("nix", "build", "--no-link", f"{lab.flake}#{ATTRIBUTE}")
    assert built.returncode == 0, built.stderr
    share = path.replace("/nix/store", "/nix/.ro-store")
    assert lab.guest(f"[ -e {path} ] || echo hidden; [ -e {share} ] && echo there").split() == ["hidden", "there"]
    assert actions(events(lab))[0][0] == "switch"
    assert lab.guest("cat /etc/motd") == "Asked for too early."
    assert runs(lab) == path


def test_caches_that_may_not_be_dropped(lab: Lab) -> None:
    """Then a hidden path takes a restart, and the reason names it."""
    say(lab, "Hidden.")
    path = lab.run("nix", "eval", "--raw", f"{lab.flake}#{ATTRIBUTE}.outPath").stdout
    caches = "/proc/sys/vm/drop_caches"
    lab.guest(f"[ -e {path} ]; mount -o bind {caches} {caches} && mount -o remount,ro,bind {caches}")
    boot = lab.boot_id()
    first, second = actions(events(lab))
    assert (first[0], second[0]) == ("switch", "restart")
    assert f"the guest does not see {path}" in second[1]
    assert "its caches may not be dropped" in second[1]
    assert lab.boot_id() != boot
    assert lab.booted() == path


def test_who_switched_by_hand(lab: Lab) -> None:
    """The guest runs another system than it should: it is switched back, whatever the flake says is built."""
    older = json.loads((lab.state / "generations/1/generation.json").read_text())["toplevel"]
    lab.guest(f"{older}/bin/switch-to-configuration test")
    assert runs(lab) == older
    assert [action for action, _ in actions(events(lab))] == ["switch"]
    assert runs(lab) == lab.toplevel()


def test_an_activation_that_fails_takes_a_restart(lab: Lab) -> None:
    """In `auto` a switch that fails becomes a restart of the same generation."""
    boot = lab.boot_id()
    with activating(lab, f"if {UP}; then echo it will not do; exit 3; fi"):
        found = events(lab)
        assert [action for action, _ in actions(found)] == ["switch", "restart"]
        assert "exited 2: the activation failed" in actions(found)[1][1]
        assert found[-1]["action"] == "restart"
        log = next(lab.state.glob(f"cycles/{found[-1]['cycle']}/switch.log")).read_text()
        assert "it will not do" in log
        assert lab.booted() == runs(lab) == lab.toplevel()
    assert lab.boot_id() != boot


def test_a_switch_that_hangs_takes_a_restart(lab: Lab) -> None:
    """After `switch_timeout`."""
    with (
        lab.configured('mode = "auto"', 'mode = "auto"\nswitch_timeout = "2s"'),
        activating(lab, f"if {UP}; then sleep 600; fi"),
    ):
        chosen = actions(events(lab))
        assert [action for action, _ in chosen] == ["switch", "restart"]
        assert "did not end within 2" in chosen[1][1]
        assert lab.booted() == lab.toplevel()


def test_the_connection_is_cut_in_mid_switch(lab: Lab) -> None:
    """Sshd and its sessions end and it comes back a second later: the switch goes on, and is followed to its end."""
    cut = "killall dropbear; sleep 1; dropbear -r /run/host-key -E -s -p 22"
    boot = lab.boot_id()
    with activating(lab, f"if {UP}; then echo before; {cut}; echo after; fi"):
        found = events(lab)
        assert [action for action, _ in actions(found)] == ["switch"]
        said = [one["line"] for one in found if one["type"] == "switch_log"]
        assert [line for line in said if line in {"before", "after"}] == ["before", "after"]
        assert runs(lab) == lab.toplevel()
    assert lab.boot_id() == boot


def test_a_service_that_fails_is_named(lab: Lab) -> None:
    """Switched, with a failed unit: exit 7, the guest stays as it is, and the check says which."""
    boot = lab.boot_id()
    with lab.edited("configuration.nix", "services = { };", 'services = { doomed = "exit 5"; };'):
        found = events(lab, code=7)
        assert runs(lab) == lab.toplevel()
    assert [action for action, _ in actions(found)] == ["switch"]
    checks = {one["check"]: one for one in found if one["type"] == "check_finished"}
    assert (checks["failed-units"]["ok"], checks["failed-units"]["required"]) == (False, False)
    assert "doomed" in checks["failed-units"]["actual"]
    assert lab.boot_id() == boot
    assert events(lab)[-1]["verdict"] == "ok"


def test_a_switch_with_failed_units_stays_red(lab: Lab) -> None:
    """Asking again makes it no greener, and no further generation, until something is changed."""
    with lab.edited("configuration.nix", "services = { };", 'services = { doomed = "exit 6"; };'):
        events(lab, code=7)
        newest = max(int(path.name) for path in (lab.state / "generations").iterdir())
        assert actions(events(lab, code=7)) == [("switch", "the switch to it was never verified")]
        assert max(int(path.name) for path in (lab.state / "generations").iterdir()) == newest
    assert events(lab)[-1]["verdict"] == "ok"


def test_a_system_that_cannot_be_switched_to(lab: Lab) -> None:
    """It has no switch-to-configuration: a restart, and that is the reason."""
    source = (lab.flake / "system.nix").read_text()
    line = next(
        line for line in source.splitlines() if "$out/bin/switch-to-configuration" in line and "chmod" not in line
    )
    with lab.edited("system.nix", line, f"{line}\n    rm -f $out/bin/switch-to-configuration; touch $out/without"):
        assert actions(events(lab, "--plan")) == [("restart", "the system has no switch-to-configuration")]


def test_what_takes_a_boot_is_restarted(lab: Lab) -> None:
    """A kernel parameter, the initrd's init and a mount of the store each are a reason of their own."""
    boot = lab.boot_id()
    with lab.edited("kernel-params.nix", '"quiet"', '"quiet" "boots=1"'):
        assert actions(events(lab)) == [("restart", "kernel parameter added: boots=1")]
        assert "boots=1" in lab.guest("cat /proc/cmdline").split()
    assert lab.boot_id() != boot
    with lab.edited("stage-1.sh", "#!/bin/sh", "#!/bin/sh\n# another"):
        assert "initrd " in actions(events(lab, "--plan"))[0][1]
    with lab.edited("configuration.nix", '"mini 1"', '"mini 2"'):
        assert "init-interface-version mini 1 → mini 2" in actions(events(lab, "--plan"))[0][1]
    with lab.edited(
        "file-systems.nix", 'fsType = "virtiofs"; options = [ "ro" ]', 'fsType = "virtiofs"; options = [ "ro" "nodev" ]'
    ):
        assert "mount of the store added: nix-store-share /nix/.ro-store" in actions(events(lab, "--plan"))[0][1]


def test_the_mode_switch_never_restarts(lab: Lab) -> None:
    """What takes a boot is told and left alone; a switch that fails leaves the former generation current."""
    events(lab)
    boot, current = lab.boot_id(), os.readlink(lab.state / "current")  # noqa: PTH115
    with lab.configured('mode = "auto"', 'mode = "switch"'):
        with lab.edited("kernel-params.nix", '"quiet"', '"quiet" "later=1"'):
            said = lab.fails(7)
            assert "a restart is due: kernel parameter added: later=1" in said
            assert "rebuild --force" in said
        with activating(lab, f"if {UP}; then exit 3; fi"):
            said = lab.fails(7)
            assert "the activation failed" in said
            assert "generation" in said
            assert "is current again" in said
        assert os.readlink(lab.state / "current") == current  # noqa: PTH115
        assert f"init={lab.toplevel()}/init" in lab.virsh("dumpxml", "--inactive", lab.name)
        say(lab, "Switched again.")
        assert actions(events(lab))[0][0] == "switch"
        assert lab.guest("cat /etc/motd") == "Switched again."
    assert lab.boot_id() == boot


def test_a_switch_that_hangs_is_ended(lab: Lab) -> None:
    """In the mode `switch`, where no restart follows: nothing of it goes on in the guest, and the next one works."""
    with (
        lab.configured('mode = "auto"', 'mode = "switch"\nswitch_timeout = "2s"'),
        activating(lab, f"if {UP}; then exec sleep 612; fi"),
    ):
        assert "did not end within 2" in lab.fails(7)
        assert lab.guest("ps | grep -c '[s]leep 612' || true") == "0"
    with lab.configured('mode = "auto"', 'mode = "switch"'):
        say(lab, "After one that hung.")
        assert actions(events(lab))[0][0] == "switch"
        assert runs(lab) == lab.toplevel()


def test_a_switch_that_is_cut_short_is_done_over(lab: Lab) -> None:
    """Killed in mid-switch: the next command waits for what goes on in the guest, switches again, and verifies."""
    boot = lab.boot_id()
    with activating(lab, f"if {UP}; then sleep 3; fi"):
        process = subprocess.Popen(
            ["nixvm-loop", "rebuild", "-o", "json"], cwd=lab.folder, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert any('"switch_log"' in line for line in process.stdout)
        process.kill()
        process.communicate()
        found = events(lab)
        assert actions(found)[0][0] == "switch"
        assert found[-1]["verdict"] == "ok"
        assert runs(lab) == lab.toplevel()
        assert actions(events(lab)) == [("none", "the guest already runs the built system")]
    assert lab.boot_id() == boot


def test_an_sshd_that_has_ended(lab: Lab) -> None:
    """The connection that `watch` keeps does not hide it: at the next save the guest is restarted, and reached."""
    with lab.watch() as watch:
        watch.finished()
        before = lab.boot_id()
        lab.guest("kill $(ps | grep '[d]ropbear -r' | head -n 1 | cut -c 1-5)")
        lab.edit("configuration.nix", 'label = "', 'label = "deaf-')
        assert watch.finished()["action"] == "restart"
        assert lab.boot_id() != before
    lab.edit("configuration.nix", 'label = "deaf-', 'label = "')


def test_a_paused_domain_is_not_restarted(lab: Lab) -> None:
    """With `switch` nobody takes its memory away."""
    with lab.configured('mode = "auto"', 'mode = "switch"'):
        lab.virsh("suspend", lab.name)
        assert "a restart is due: the domain is paused" in lab.fails(7)
        lab.virsh("resume", lab.name)
    assert events(lab)[-1]["verdict"] in {"ok", "unchanged"}


def test_the_domain_changed_since_its_start(lab: Lab) -> None:
    """`create` has given it more memory, which the guest that runs does not have: a restart, with old and new."""
    with lab.configured('memory = "512MiB"', 'memory = "520MiB"'):
        assert lab.loop("create").returncode == 0
        action, reasons = actions(events(lab, "--plan"))[0]
        assert action == "restart"
        assert "memory: 524288 becomes 532480" in reasons
    assert lab.loop("create").returncode == 0
    assert actions(events(lab, "--plan"))[0][0] in {"none", "switch"}


def test_a_reboot_boots_what_was_switched_to(lab: Lab) -> None:
    """Under `watch`, which starts the guest again: on the current generation, verified, and now last good."""
    say(lab, "To be rebooted.")
    events(lab)
    system = lab.toplevel()
    assert lab.booted() != system
    with lab.watch() as watch:
        watch.finished()
        lab.run("nixvm-loop", "ssh", "reboot")
        assert watch.finished()["verdict"] == "ok"
    assert lab.booted() == runs(lab) == system


def test_what_the_overlay_hides_or_knows_from_before(lab: Lab) -> None:
    """`verify` tells hidden, stale and deleted paths of the running system apart; `--refresh` cures the first two."""
    program = "printf '#!/bin/sh\\necho one\\n' > $out/bin/one; chmod +x $out/bin/one"
    with lab.edited(
        "configuration.nix", "packages = { };", f"packages = {{ one = ''mkdir -p $out/bin; {program}''; }};"
    ):
        events(lab)
    path = Path(lab.guest("dirname $(dirname $(readlink -f /run/current-system/sw/bin/one))"))
    aside, share = path.with_name("aside"), f"/nix/.ro-store/{path.name}"

    path.rename(aside)
    time.sleep(1.5)  # for so long virtiofs takes its own word for it
    assert lab.guest(f"echo 2 >/proc/sys/vm/drop_caches; [ -e {path} ] || echo missing") == "missing"
    assert f"gone from the host's store: {path}" in lab.fails(7, command="verify")
    aside.rename(path)
    time.sleep(1.5)
    assert lab.guest(f"ls {share}") == "bin"
    said = lab.fails(7, command="verify")
    assert f"hidden by the overlay: {path}" in said
    assert "verify --refresh" in said
    assert lab.loop("verify", "--refresh").returncode == 0

    lab.guest(f"cat {path}/bin/one")
    shutil.copytree(path, aside, symlinks=True)
    shutil.rmtree(path)
    aside.rename(path)
    time.sleep(1.5)
    lab.guest(f"ls {share}")
    said = lab.fails(7, command="verify")
    assert f"stale in the overlay: {path}" in said
    assert lab.loop("verify", "--refresh").returncode == 0
    assert lab.guest("one") == "one"


def test_the_keys_of_the_live_view(lab: Lab) -> None:
    """In a terminal: `s` switches, `r` restarts, `p` holds saves back until `p`, space runs a cycle, `q` ends it."""
    before = int(last_cycle(lab)["cycle"])
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*lab.prefix, "setsid", "--ctty", "--wait", "nixvm-loop", "watch"],
        cwd=lab.folder, stdin=slave, stdout=slave, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    shown = bytearray()
    threading.Thread(target=drain, args=(master, shown), daemon=True).start()
    try:
        cycle = await_cycle(lab, before)
        boot = lab.boot_id()
        for key, action in ((b"s", "switch"), (b" ", "none"), (b"r", "restart")):
            os.write(master, key)
            cycle = await_cycle(lab, cycle)
            assert last_cycle(lab)["action"] == action, shown[-4000:].decode(errors="replace")
        assert lab.boot_id() != boot
        os.write(master, b"p")
        time.sleep(0.5)
        say(lab, "Saved in the pause.")
        time.sleep(1.5)
        assert last_cycle(lab)["cycle"] == cycle
        assert "paused: saves start no cycles" in json.loads(lab.loop("status", "-o", "json").stdout)["holder"]
        assert b"1 saved file waits" in shown
        os.write(master, b"p")
        cycle = await_cycle(lab, cycle)
        assert lab.guest("cat /etc/motd") == "Saved in the pause."
        os.write(master, b"r")
        wait_until(lambda: f"cycle {cycle + 1}".encode() in shown)
        os.write(master, b" s")
        wait_until(lambda: b"then: a switch" in shown)
        await_cycle(lab, cycle + 1)
        assert last_cycle(lab)["action"] == "switch"
        os.write(master, b"q")
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def wait_until(holds: Callable[[], bool], within_s: float = 20) -> None:
    """Wait for what has to come soon."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def drain(terminal: int, shown: bytearray) -> None:
    """Read what is drawn."""
    with suppress(OSError):
        while text := os.read(terminal, 65536):
            shown += text


def last_cycle(lab: Lab) -> dict[str, Any]:
    """The last line of the journal."""
    last: dict[str, Any] = json.loads((lab.state / "journal.jsonl").read_text().splitlines()[-1])
    return last


def await_cycle(lab: Lab, after: int) -> int:
    """Wait until a cycle of this `watch` has ended that is newer, and until it waits for changes again."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        holder = json.loads(lab.loop("status", "-o", "json").stdout)["holder"] or ""
        if "waiting for changes" in holder and last_cycle(lab)["cycle"] > after:
            return int(last_cycle(lab)["cycle"])
        time.sleep(0.2)
    raise AssertionError("no cycle has ended")
