"""The main job on a real guest, in the order in which a user meets it: each test goes on from the last one's guest."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.lab import Lab


@pytest.fixture(scope="module", params=["root", "user"])
def lab(request: pytest.FixtureRequest, make_lab: Callable[..., Lab]) -> Lab:
    """A guest of root's, and one of a user's who is only in group libvirt."""
    made = make_lab(as_user=request.param == "user")
    created = made.loop("create")
    assert created.returncode == 0, created.stderr
    return made


def test_the_first_cycle_boots_what_nix_built(lab: Lab) -> None:
    """After `create` and `rebuild` the guest runs Nix's own toplevel from the share, under a read-only overlay."""
    ended = lab.cycle()
    assert (ended["verdict"], ended["action"], ended["generation"]) == ("ok", "restart", 1)
    assert lab.booted() == lab.toplevel()
    mounts = [line.split() for line in lab.guest("cat /proc/mounts").splitlines()]
    by_place = {place: (kind, options.split(",")) for _, place, kind, options, *_ in mounts}
    assert by_place["/nix/.ro-store"][0] == "virtiofs"
    assert "ro" in by_place["/nix/.ro-store"][1]
    assert by_place["/nix/store"][0] == "overlay"
    assert by_place["/nix/.rw-store"][0] == "tmpfs"
    assert lab.guest("cat /proc/cmdline").split().count(f"init={lab.toplevel()}/init") == 1
    assert f"{lab.state}/generations/1/toplevel" in lab.run("nix-store", "--gc", "--print-roots").stdout
    about = json.loads((lab.state / "generations/1/generation.json").read_text())
    assert (about["toplevel"], about["verdict"], about["dirty"]) == (lab.toplevel(), "ok", False)
    assert about["revision"] == lab.run("git", "-C", str(lab.flake), "rev-parse", "HEAD").stdout.strip()


def test_an_unchanged_system_is_left_alone(lab: Lab) -> None:
    """Nothing is restarted when a sound guest already runs what was built; `--force` restarts all the same."""
    before = lab.boot_id()
    ended = lab.cycle()
    assert (ended["verdict"], ended["action"]) == ("unchanged", "none")
    assert lab.boot_id() == before
    assert lab.cycle("--force")["verdict"] == "ok"
    assert lab.boot_id() != before


def test_a_change_of_the_system_alone(lab: Lab) -> None:
    """A new motd is a new toplevel on the same kernel and initrd."""
    kernel, initrd = (lab.virsh("dumpxml", lab.name, "--xpath", f"//os/{part}/text()") for part in ("kernel", "initrd"))
    files = [lab.run("readlink", "-f", path).stdout for path in (kernel, initrd)]
    lab.edit("configuration.nix", "Hello from the mini guest.", "A new greeting.")
    lab.cycle()
    assert lab.guest("cat /etc/motd") == "A new greeting."
    assert lab.booted() == lab.toplevel()
    after = [lab.virsh("dumpxml", lab.name, "--xpath", f"//os/{part}/text()") for part in ("kernel", "initrd")]
    assert [lab.run("readlink", "-f", path).stdout for path in after] == files


def test_a_change_of_the_kernel_parameters(lab: Lab) -> None:
    """The new command line is the one that the guest's kernel got."""
    lab.edit("kernel-params.nix", '"quiet"', '"quiet"\n  "nixvm.test=on"')
    lab.cycle()
    words = lab.guest("cat /proc/cmdline").split()
    assert "nixvm.test=on" in words
    assert sum(word.startswith("init=") for word in words) == 1


def test_a_change_of_the_initrd(lab: Lab) -> None:
    """The new initrd is the one that ran."""
    lab.edit("stage-1.sh", "for module in", "echo new-initrd >/dev/kmsg\nfor module in")
    lab.cycle()
    assert "new-initrd" in lab.guest("dmesg")
    assert lab.booted() == lab.toplevel()


def test_a_build_error_changes_nothing_and_names_the_place(lab: Lab) -> None:
    """A syntax error is exit 3 with file:line:col in the user's tree; the guest goes on untouched."""
    before = lab.boot_id()
    good = (lab.flake / "configuration.nix").read_text()
    lab.edit("configuration.nix", 'label = "1";', 'label = "1"')
    failed = lab.loop("rebuild")
    assert failed.returncode == 3, failed.stderr
    problem = [line for line in failed.stdout.splitlines() if ": error: " in line]
    assert problem, failed.stdout
    assert problem[0].startswith(f"{lab.flake}/configuration.nix:")
    lab.write(lab.flake / "configuration.nix", good)
    assert lab.boot_id() == before
    assert lab.cycle()["verdict"] == "unchanged"


def test_the_other_commands(lab: Lab) -> None:
    """`verify`, `status` and `ssh` tell the truth about the running guest, each by its exit code."""
    verified = lab.loop("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    status = lab.loop("status", "-o", "json")
    assert status.returncode == 0
    known = json.loads(status.stdout)
    assert (known["state"], known["booted_system"], known["last_verdict"]) == ("running", lab.booted(), "unchanged")
    assert lab.loop("ssh", "cat", "/proc/sys/kernel/random/boot_id").stdout.strip() == lab.boot_id()
    assert lab.loop("ssh", "exit", "7").returncode == 7


def test_a_guest_that_runs_something_else_does_not_verify(lab: Lab) -> None:
    """Green means true: when the guest says that another system is current, `verify` fails and names the check."""
    lab.guest("rm /run/current-system; ln -s /nix/store /run/current-system")
    failed = lab.loop("verify")
    assert failed.returncode == 7
    assert "system" in failed.stderr
    healed = lab.cycle()
    assert (healed["verdict"], healed["action"]) == ("ok", "restart")


def test_watch_builds_boots_and_verifies_each_save(lab: Lab) -> None:
    """A save is a cycle; touching a file is none; a file that git does not know is none until `git add`."""
    with lab.watch() as watch:
        assert watch.finished()["verdict"] == "unchanged"
        lab.edit("configuration.nix", "A new greeting.", "Greeting two.")
        assert watch.finished()["verdict"] == "ok"
        assert lab.guest("cat /etc/motd") == "Greeting two."
        lab.run("touch", str(lab.flake / "configuration.nix"))
        time.sleep(1.0)  # a cycle that came of it would be the next that is finished
        lab.edit("configuration.nix", "Greeting two.", "Greeting three.")
        assert watch.finished()["verdict"] == "ok"
        assert lab.guest("cat /etc/motd") == "Greeting three."
    cycles = [event["cycle"] for event in watch.events if event["type"] == "cycle_finished"]
    assert cycles == list(range(cycles[0], cycles[0] + 3))


def test_a_save_during_a_build_cancels_it(lab: Lab) -> None:
    """The newest save wins at once: the slow build and its builder are gone, the new system is what runs."""
    slow = 'packages = { slow = "sleep 60 # marker-4711\\nmkdir $out"; };'
    with lab.watch() as watch:
        watch.finished()
        before = lab.boot_id()
        lab.edit("configuration.nix", "packages = { };", slow)
        watch.wait_for(lambda event: event["type"] == "build_activity" and event["name"].startswith("slow"))
        lab.edit("configuration.nix", slow, "packages = { };\n  # again")
        lab.edit("configuration.nix", "Greeting three.", "Greeting four.")
        assert watch.finished()["verdict"] == "cancelled"
        assert watch.finished("ok")["exit_code"] == 0
        assert lab.guest("cat /etc/motd") == "Greeting four."
        assert lab.boot_id() != before
        assert "marker-4711" not in lab.run("ps", "axww").stdout


def test_a_save_during_the_boot_is_taken_next(lab: Lab) -> None:
    """Past the point of no return a cycle goes on; the save gets the next one."""
    with lab.watch() as watch:
        watch.finished()
        lab.edit("configuration.nix", "Greeting four.", "Greeting five.")
        watch.wait_for(lambda event: event["type"] == "stage_started" and event["stage"] == "boot")
        lab.edit("configuration.nix", "Greeting five.", "Greeting six.")
        first, second = watch.finished(), watch.finished()
        assert (first["verdict"], second["verdict"]) == ("ok", "ok")
        assert lab.guest("cat /etc/motd") == "Greeting six."


def test_delete_leaves_nothing(lab: Lab) -> None:
    """The domain, the state and its roots are gone."""
    done = lab.loop("delete", "--yes")
    assert done.returncode == 0, done.stderr
    assert lab.name not in lab.virsh("list", "--all", "--name").split()
    assert not lab.state.exists()
