"""`history` and `diff` on a real guest of a user's, in the order in which its generations come about."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.lab import Lab

UNIT = "[Service]\\nExecStart=/bin/true\\n"
PACKAGE = "''mkdir -p $out/bin; head -c 200000 /dev/zero > $out/bin/big''"


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """A guest with three generations, of which the third came of a save."""
    made = make_lab(as_user=True)
    created = made.loop("create")
    assert created.returncode == 0, created.stderr
    made.cycle()
    made.edit("kernel-params.nix", '"quiet"', '"nixvm.test=on"')
    made.edit("configuration.nix", "etc = { };", f'etc = {{ "systemd/system/a.service" = "{UNIT}"; "b.conf" = "1"; }};')
    made.cycle()
    with made.watch() as watch:
        assert watch.finished()["verdict"] == "unchanged"
        made.edit("configuration.nix", "packages = { };", f"packages = {{ big = {PACKAGE}; }};")
        assert watch.finished()["generation"] == 3
    return made


def history(lab: Lab) -> dict[str, Any]:
    """What `history` says to programs: exactly one line."""
    done = lab.loop("history", "-o", "json")
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    said: dict[str, Any] = json.loads(line)
    return said


def difference(lab: Lab, *numbers: str) -> dict[str, Any]:
    """What `diff` says to programs."""
    done = lab.loop("diff", "-o", "json", *numbers)
    assert (done.returncode, done.stderr) == (0, "")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def link(lab: Lab, number: int, name: str = "toplevel") -> Path:
    """Where a generation's link leads."""
    return (lab.state / f"generations/{number}/{name}").readlink()


def test_history_tells_what_the_guest_and_the_disk_show(lab: Lab) -> None:
    """Numbers, roles and systems are those on the disk; what is booted is what the guest itself says."""
    said = history(lab)
    assert [one["number"] for one in said["generations"]] == [3, 2, 1]
    assert (said["built"], said["current"], said["last_good"], said["booted"]) == (3, 3, 3, 3)
    assert (said["booted_system"], said["booted_source"]) == (lab.booted(), "guest")
    assert said["problems"] == []
    for one in said["generations"]:
        assert [one[name] for name in ("toplevel", "kernel", "initrd")] == [
            str(link(lab, one["number"], name)) for name in ("toplevel", "kernel", "initrd")
        ]
        assert (one["verdict"], one["problem"]) == ("ok", None)
    assert said["generations"][0]["changes"] == [f"{lab.flake}/configuration.nix"]
    assert said["generations"][0]["dirty"] is True
    assert said["generations"][0]["cmdline"] == lab.guest("cat /proc/cmdline")
    lines = lab.loop("history").stdout.splitlines()
    assert lines[0].split() == ["generation", "age", "verdict", "action", "is", "changed"]
    assert lines[1].startswith("3 ")
    assert "built, current, booted, last good" in lines[1]
    assert lines[1].endswith("configuration.nix")
    assert lines[4:] == ["booted: generation 3, as the guest says"]


def test_diff_shows_what_nix_hides(lab: Lab) -> None:
    """Kernel parameters, units and files below etc that differ by a few bytes, beside Nix's own words."""
    first = difference(lab, "1", "2")
    assert (first["parameters_added"], first["parameters_removed"]) == (["nixvm.test=on"], ["quiet"])
    assert first["units"] == [{"name": "a.service", "change": "added"}]
    assert first["etc"] == [{"name": "b.conf", "change": "added"}]
    assert (first["closure"], first["etc_incomplete"]) == ([], None)
    assert first["kernel_before"] == first["kernel_after"] == str(link(lab, 1, "kernel"))
    assert (first["toplevel_before"], first["toplevel_after"]) == (str(link(lab, 1)), str(link(lab, 2)))


def test_diff_chooses_what_is_usual(lab: Lab) -> None:
    """Without numbers the newest is compared with the one before; with one number that one with the current."""
    usual = difference(lab)
    assert (usual["before"], usual["after"]) == (2, 3)
    assert (usual["units"], usual["etc"], usual["parameters_added"]) == ([], [], [])
    nix = lab.run(
        "nix", "--extra-experimental-features", "nix-command", "store", "diff-closures",
        str(link(lab, 2)), str(link(lab, 3)),
    )  # fmt: skip
    assert usual["closure"] == [re.sub(r"\x1b\[[0-9;]*m", "", nix.stdout).strip()]
    assert usual["closure"][0].startswith("big: ")
    one = difference(lab, "1")
    assert (one["before"], one["after"]) == (1, 3)
    plain = lab.loop("diff", "1", "2").stdout.splitlines()
    assert {"  + nixvm.test=on", "  - quiet", "  + a.service", "  + b.conf"} <= set(plain)


def test_the_guests_word_counts_not_memory(lab: Lab) -> None:
    """The system that the guest names is told, not the one that it had last time; an unknown one by its path."""
    before = lab.guest("readlink /run/booted-system")
    lab.guest(f"ln -sfn {link(lab, 1)} /run/booted-system")
    assert (history(lab)["booted"], history(lab)["booted_source"]) == (1, "guest")
    lab.guest("ln -sfn /nix/store /run/booted-system")
    said = history(lab)
    assert (said["booted"], said["booted_system"]) == (None, "/nix/store")
    assert lab.loop("history").stdout.splitlines()[-1] == "booted: unknown: /nix/store, as the guest says"
    lab.guest("rm /run/booted-system")
    assert history(lab)["booted_source"] == "last_seen"
    assert "does not say what it runs" in history(lab)["booted_problem"]
    lab.guest(f"ln -sfn {before} /run/booted-system")
    assert history(lab)["booted"] == 3


def test_a_guest_that_does_not_answer_holds_nobody_up(lab: Lab) -> None:
    """Where nobody answers, the answer of the last time does after a few seconds, and is told to be that."""
    forward = f"ssh_port = {lab.port}"
    with lab.configured(forward, f"{forward}\n[guests.{lab.name}.ssh]\nport = 1"):
        started = time.monotonic()
        last = lab.loop("history").stdout.splitlines()[-1]
        assert time.monotonic() - started < 9
        assert last.startswith("booted: generation 3, as last seen just now; ")
        assert "127.0.0.1:1" in last
        assert history(lab)["booted_source"] == "last_seen"


def test_damage_is_named_and_mended(lab: Lab) -> None:
    """A generation deleted from the store by force and one half deleted are named; a cycle clears up what is left."""
    subprocess.run(["nix-store", "--delete", "--ignore-liveness", link(lab, 1)], check=True, capture_output=True)
    (lab.state / "generations/2/kernel").unlink()
    (lab.state / "generations/7").mkdir()
    said = {one["number"]: one["problem"] for one in history(lab)["generations"]}
    assert said[1] == f"damaged: gone from the store: {link(lab, 1)}"
    assert said[2] == "damaged: its kernel is missing"
    assert said[7].startswith("unfinished: ")
    assert said[3] is None
    assert f"{link(lab, 1)} is gone from the store" in lab.fails(4, "1", "3", command="diff")
    assert "generation 2 cannot be read: its kernel is missing" in lab.fails(4, "2", command="diff")
    assert lab.cycle()["verdict"] == "unchanged"
    assert not (lab.state / "generations/7").exists()


def test_a_current_that_dangles(lab: Lab) -> None:
    """When the current generation was removed by hand, that is named; the next cycle makes a new one and runs it."""
    shutil.rmtree(lab.state / "generations/3")
    assert history(lab)["problems"] == [f"{lab.state}/current names generation 3, which is not there"]
    assert (history(lab)["booted"], history(lab)["booted_system"]) == (None, lab.booted())
    assert lab.cycle()["verdict"] == "ok"
    said = history(lab)
    assert said["problems"] == []
    assert said["current"] == said["booted"] == said["last_good"]
    assert said["booted_system"] == lab.booted() == lab.toplevel()


def test_a_guest_that_is_off(lab: Lab) -> None:
    """Nothing is booted when libvirt says so, and the command does not wait for the guest."""
    lab.virsh("destroy", lab.name)
    started = time.monotonic()
    said = history(lab)
    assert time.monotonic() - started < 3
    assert (said["booted"], said["booted_source"]) == (None, "libvirt")
    assert said["booted_problem"] == f"domain {lab.name} is shut off"
    assert lab.strays() == []
