"""`doctor` on a real guest that is broken for real: found by its id, and cured by the fix that stands there."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.examined import examined, found, ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.lab import Lab

PROGRAM = "printf '#!/bin/sh\\necho one\\n' > $out/bin/one; chmod +x $out/bin/one"
# For so long, virtiofs takes its own word for what it has seen.
REMEMBERED_S = 1.5


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    """A verified guest of root's with a small path of its own in its system."""
    made = make_lab()
    made.edit("configuration.nix", "packages = { };", f"packages = {{ one = ''mkdir -p $out/bin; {PROGRAM}''; }};")
    assert made.loop("create", "--start").returncode == 0
    yield made
    made.remove()


@pytest.fixture
def path(lab: Lab) -> Path:
    """The small path."""
    return Path(lab.guest("dirname $(dirname $(readlink -f /run/current-system/sw/bin/one))"))


def test_a_path_that_the_overlay_hides(lab: Lab, path: Path) -> None:
    """Looked up while it was away: named, exit 7, and cured by --fix."""
    aside = path.with_name("aside")
    path.rename(aside)
    time.sleep(REMEMBERED_S)
    assert lab.guest(f"echo 2 >/proc/sys/vm/drop_caches; [ -e {path} ] || echo missing") == "missing"
    gone = found(examined(lab, code=7))
    assert gone.keys() == {"store-gone"}
    assert str(path) in gone["store-gone"]["evidence"]
    aside.rename(path)
    time.sleep(REMEMBERED_S)
    hidden = found(examined(lab, code=7))
    assert hidden.keys() == {"store-hidden"}
    assert hidden["store-hidden"]["evidence"] == str(path)
    assert "verify --refresh" in hidden["store-hidden"]["fix"]
    assert found(examined(lab, "--fix", "--yes", code=7)).keys() == {"store-hidden"}
    assert found(examined(lab)) == {}


def test_a_path_that_was_replaced(lab: Lab, path: Path) -> None:
    """Deleted and built again under the guest: told apart from a hidden one, and cured likewise."""
    aside = path.with_name("aside")
    lab.guest(f"cat {path}/bin/one")
    shutil.copytree(path, aside, symlinks=True)
    shutil.rmtree(path)
    aside.rename(path)
    time.sleep(REMEMBERED_S)
    lab.guest(f"ls /nix/.ro-store/{path.name}")
    stale = found(examined(lab, code=7))
    assert stale.keys() == {"store-stale"}
    assert stale["store-stale"]["evidence"] == str(path)
    assert lab.loop("verify", "--refresh").returncode == 0
    assert found(examined(lab)) == {}


def test_the_system_was_collected_under_the_guest(lab: Lab) -> None:
    """The whole system deleted from the host's store by force: named, and built again by the next cycle."""
    toplevel = (lab.state / "generations/1/toplevel").readlink()
    deleted = lab.run("nix-store", "--delete", "--ignore-liveness", str(toplevel))
    assert deleted.returncode == 0, deleted.stderr
    done = lab.loop("doctor", "-o", "json")
    assert done.returncode in {6, 7}, "such a guest may not let anybody in any more"
    events = found([json.loads(line) for line in done.stdout.splitlines()])
    assert {"store-gone", "state-damaged"} <= events.keys()
    assert events["store-gone"]["evidence"] == str(toplevel)
    assert "nixvm-loop rebuild" in events["store-gone"]["fix"]
    lab.cycle()
    assert ids(lab) == set()


def test_nobody_to_ask(lab: Lab, path: Path) -> None:
    """Without a terminal, --fix changes nothing and says so."""
    path.rename(path.with_name("aside"))
    time.sleep(REMEMBERED_S)
    lab.guest(f"echo 2 >/proc/sys/vm/drop_caches; [ -e {path} ] || true")
    path.with_name("aside").rename(path)
    time.sleep(REMEMBERED_S)
    done = subprocess.run(
        ["nixvm-loop", "doctor", "--fix"],
        cwd=lab.folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 2
    assert "there is nobody to ask" in done.stderr
    assert found(examined(lab, "--fix", "--yes", code=7)).keys() == {"store-hidden"}
    assert found(examined(lab)) == {}


def until_it_answers(lab: Lab) -> None:
    """Wait until the guest's sshd lets somebody in."""
    deadline = time.monotonic() + 60
    while lab.run(*lab.ssh("true")).returncode and time.monotonic() < deadline:
        time.sleep(0.3)


def test_the_way_into_the_guest(lab: Lab) -> None:
    """A key that it does not know, one that is not there, and another host key."""
    key, known = lab.folder / "other-key", lab.state / "ssh/known_hosts"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    for path, name in ((key, "ssh-key-refused"), (lab.folder / "no-key", "ssh-key-unusable")):
        table = f'[guests.{lab.name}.ssh]\nkey = "{path}"\n\n[guests.{lab.name}.apply]'
        with lab.configured(f"[guests.{lab.name}.apply]", table):
            assert ids(lab, code=6) == {name}
    before = known.read_text()
    other = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    known.write_text(re.sub(r"ssh-ed25519 \S+", other, before))
    assert ids(lab, code=6) == {"host-key-changed"}
    known.write_text(before)
    assert ids(lab) == set()


def test_mounts_that_are_not_what_the_config_says(lab: Lab) -> None:
    """Another place for share and layer, and a share that is mounted writable."""
    places = '[guests.{}.store]\nro_store = "/nix/.other"\nrw_store = "/run"\n\n[guests.{}.apply]'
    with lab.configured(f"[guests.{lab.name}.apply]", places.format(lab.name, lab.name)):
        assert {"store-share", "store-overlay"} <= ids(lab, code=7)
    lab.guest("mount -o remount,rw /nix/.ro-store")
    assert ids(lab, code=7) == {"store-share-readonly"}
    lab.guest("mount -o remount,ro /nix/.ro-store")
    assert ids(lab) == set()


def test_a_layer_that_fills_up(lab: Lab) -> None:
    """Nearly full is a warning with the figures; read-only is an error. Both are gone with what made them."""
    room_kib = int(lab.guest("df -k /nix/.rw-store | tail -1 | awk '{print $4}'"))
    lab.guest(f"dd if=/dev/zero of=/nix/.rw-store/upper/fill bs=1024 count={room_kib * 9 // 10} 2>/dev/null")
    warned = found(examined(lab))
    assert warned.keys() == {"rw-store-space"}
    assert warned["rw-store-space"]["evidence"].startswith("90% of ")
    assert re.search(r"; largest: [0-9.]+ MiB fill", warned["rw-store-space"]["evidence"])
    lab.loop("verify")
    status = lab.loop("status").stdout
    assert "nearly full: nixvm-loop doctor names what fills it" in status
    assert re.search(r"store layer +2\d\d\.\d MiB of ", status)
    lab.guest("rm /nix/.rw-store/upper/fill; mount -o remount,ro /nix/.rw-store")
    assert ids(lab, code=7) == {"store-write"}
    lab.guest("mount -o remount,rw /nix/.rw-store")
    assert ids(lab) == set()


def test_a_layer_that_fills_up_in_a_cycle(lab: Lab) -> None:
    """A live switch that runs out of room says so and where to look, as does what doctor finds in its log."""
    fill = "dd if=/dev/zero of=/nix/.rw-store/upper/fill bs=1048576 count=9999"
    with (
        lab.configured('stop = "force"', 'stop = "force"\nmode = "switch"'),
        lab.edited("configuration.nix", 'activation = "";', f"activation = ''[ ! -e /run/nixos/booted ] || {fill}'';"),
    ):
        said = lab.fails(7)
        assert "No space left on device" in said
        assert "names what fills the writable layer" in said
        assert ids(lab, code=7) >= {"layer-full", "rw-store-space"}
    lab.guest("rm /nix/.rw-store/upper/fill")
    lab.cycle()
    assert ids(lab) == set()


def test_a_share_that_died(lab: Lab) -> None:
    """Killed under the guest: found without the guest's word, and cured by a restart."""
    number = lab.virsh("domid", lab.name)
    pid = int(Path(f"/run/libvirt/qemu/{number}-{lab.name}-fs0-fs.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    done = lab.loop("doctor", "-o", "json")
    events = found([json.loads(line) for line in done.stdout.splitlines()])
    assert done.returncode == 5
    assert str(pid) in events["virtiofsd-gone"]["evidence"]
    lab.cycle("--force")
    assert ids(lab) == set()


def test_a_guest_that_runs_something_else(lab: Lab) -> None:
    """An older system that somebody booted in the domain is found in the guest and in the definition."""
    older = lab.toplevel()
    with lab.edited("configuration.nix", "Hello from the mini guest.", "The newer one."):
        lab.cycle()
        good = lab.virsh("dumpxml", "--inactive", lab.name)
        lab.write(lab.folder / "theirs.xml", good.replace(lab.toplevel(), older))
        lab.virsh("define", str(lab.folder / "theirs.xml"))
        lab.virsh("destroy", lab.name)
        lab.virsh("start", lab.name)
        until_it_answers(lab)
        table = f'[guests.{lab.name}.ssh]\nhost_key = "off"\n\n[guests.{lab.name}.apply]'
        with lab.configured(f"[guests.{lab.name}.apply]", table):  # it has made a key that nobody heard of
            assert ids(lab, code=7) == {"system", "cmdline", "other-generation"}
        assert lab.cycle()["verdict"] == "ok"
        assert ids(lab) == set()


def test_a_guest_whose_nix_knows_nothing(lab: Lab) -> None:
    """A Nix in the guest in whose database the running system is not registered."""
    ignorant = PROGRAM.replace("echo one", "exit 1").replace("bin/one", "bin/nix-store")
    with lab.edited(
        "configuration.nix", "packages = {", f"packages = {{ ignorant = ''mkdir -p $out/bin; {ignorant}'';"
    ):
        lab.cycle()
        assert ids(lab) == {"nix-database"}
    lab.cycle()
    assert ids(lab) == set()


def test_a_reboot_from_within(lab: Lab) -> None:
    """In a domain of the user's own, with libvirt's default for reboots: found, and cured by a restart."""
    before = (lab.folder / "nixvm-loop.toml").read_text()
    own = re.sub(r"(?s)\[guests\.\w+\.machine\].*", "", before)
    lab.configure(f'{own}\n[guests.{lab.name}.ssh]\nhost_key = "off"\n')
    xml = lab.virsh("dumpxml", "--inactive", lab.name)
    lab.write(lab.folder / "own.xml", xml.replace("<on_reboot>destroy", "<on_reboot>restart"))
    lab.virsh("define", str(lab.folder / "own.xml"))
    lab.cycle("--force")
    assert ids(lab) == {"on-reboot"}
    boot = lab.boot_id()
    lab.run(*lab.ssh("reboot"))
    deadline = time.monotonic() + 60
    while lab.run(*lab.ssh(f"! grep -q {boot} /proc/sys/kernel/random/boot_id")).returncode:
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert ids(lab) == {"on-reboot", "rebooted-inside"}
    lab.cycle("--force")
    assert ids(lab) == {"on-reboot"}
    lab.configure(before)
    lab.cycle()
    assert ids(lab) == set()
