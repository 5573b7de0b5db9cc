"""What [machine] can ask for, on a real guest: disks, further shares, a store that it cannot change, networks."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.domain import storeview
from nixvm_loop.domainxml import HostStore
from tests.e2e import images
from tests.e2e.machines import MIB, VIEW, view_is_mounted, with_devices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.lab import Lab


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """A block device of 2 MiB, None on hosts where none can be made."""
    images.raw(image := tmp_path_factory.mktemp("block") / "block.img", 2 * MIB)
    made = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True, check=False)
    yield Path(made.stdout.strip()) if made.returncode == 0 else None
    if made.returncode == 0:
        subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab], block: Path | None) -> Iterator[Lab]:
    """Root's guest."""
    lab = with_devices(make_lab())
    if block is not None:
        lab.configure(
            (lab.folder / "nixvm-loop.toml").read_text().replace("\n]\n", f'\n  {{ path = "{block}" }},\n]\n')
        )
    yield lab
    lab.remove()


def test_nothing_is_made_while_something_is_missing(lab: Lab) -> None:
    """A disk that is not there is named before anything is: no domain, no state, no mount."""
    with lab.configured('path = "plain.img"', 'path = "missing.img"'):
        said = lab.fails(5, command="create")
    assert f"guests.{lab.name}.machine.disks[1]: {lab.folder}/missing.img does not exist" in said
    assert "qemu-img create -f raw" in said
    assert lab.name not in lab.virsh("list", "--all", "--name").split()
    assert not lab.state.exists()
    assert not view_is_mounted()


def test_the_guest_has_its_disks(lab: Lab) -> None:
    """Each opens in its format, in the order of the config, and what the guest writes is on the host; or is refused."""
    created = lab.loop("create", "--start")
    assert created.returncode == 0, created.stdout + created.stderr
    sizes = {
        line.split()[3]: int(line.split()[2]) * 1024 for line in lab.guest("grep vd /proc/partitions").splitlines()
    }
    assert sizes | {"vdd": 0} == {"vda": 64 * MIB, "vdb": 8 * MIB, "vdc": 4 * MIB, "vdd": 0}
    lab.guest("for disk in vda vdb; do echo marker-on-$disk | dd of=/dev/$disk conv=fsync 2>/dev/null; done")
    assert (lab.folder / "plain.img").read_bytes().startswith(b"marker-on-vdb\n")
    assert lab.guest("(echo x >/dev/vdc) 2>/dev/null; echo $?") != "0"
    assert lab.cycle("--force")["verdict"] == "ok"
    assert lab.guest("head -n 1 /dev/vda") == "marker-on-vda"


def test_a_block_device(lab: Lab, block: Path | None) -> None:
    """It is opened for QEMU's user although root alone may, and what the guest writes is on it."""
    if block is None:
        pytest.skip("NOT CHECKED: no loop device can be made here")
    lab.guest("echo marker-on-vdd | dd of=/dev/vdd conv=fsync 2>/dev/null")
    assert block.read_bytes().startswith(b"marker-on-vdd\n")
    assert block.stat().st_uid == 0


def test_the_store_keeps_its_owners(lab: Lab) -> None:
    """Disks are given to QEMU's user while it runs; kernel and initrd, which are the store's, are not."""
    assert (lab.folder / "plain.img").stat().st_uid != 0
    for link in ("kernel-current", "initrd-current"):
        file = (lab.state / link).resolve()
        assert file.is_relative_to("/nix/store")
        assert (file.stat().st_uid, oct(file.stat().st_mode)) == (0, "0o100444")


def test_what_libvirt_made_of_it_is_what_was_wanted(lab: Lab) -> None:
    """No device looks changed after libvirt has written it in its own words."""
    before = lab.boot_id()
    assert lab.cycle()["verdict"] == "unchanged"
    assert lab.boot_id() == before


def test_a_further_share(lab: Lab) -> None:
    """The guest mounts it by its tag; both sides see what the other writes."""
    assert lab.guest("mkdir -p /extra && mount -t virtiofs extra /extra && cat /extra/greeting") == "from the host"
    lab.guest("echo from the guest >/extra/answer")
    assert (lab.folder / "share/answer").read_text() == "from the guest\n"


def test_root_in_the_guest_cannot_change_the_hosts_store(lab: Lab) -> None:
    """Not even when it makes its mount of the share writable; and `verify` knows."""
    share = "/nix/.ro-store"
    said = lab.guest(
        f"mount -o remount,rw {share} && grep {share} /proc/mounts; touch {share}/evil 2>&1; rm {share}/nixos* 2>&1;"
        f" mount -o remount,ro {share}"
    )
    assert f"{share} virtiofs rw" in said
    assert f"touch: {share}/evil: Read-only file system" in said
    assert not Path("/nix/store/evil").exists()
    verified = lab.loop("verify")
    assert verified.returncode == 0
    assert "the host refuses writes too" in verified.stdout


def test_new_paths_show_and_collected_ones_go(lab: Lab) -> None:
    """The read-only mount is the store itself: what is built appears at once, what is collected is gone."""
    note = lab.folder / "note"
    note.write_text("made while the guest runs")
    path = lab.run("nix-store", "--add", str(note)).stdout.strip()
    name = Path(path).name
    assert lab.guest(f"cat /nix/.ro-store/{name}") == "made while the guest runs"
    lab.edit("configuration.nix", 'label = "1";', 'label = "2";')
    assert lab.cycle()["verdict"] == "ok"
    assert lab.booted() == lab.toplevel()
    assert lab.run("nix-collect-garbage").returncode == 0
    assert not Path(path).exists()
    assert not (VIEW / name).exists()
    assert lab.loop("verify").returncode == 0


def test_after_a_boot_of_the_host(lab: Lab) -> None:
    """The mount is gone with /run: a start by hand is refused, the next cycle mounts it first."""
    if not view_is_mounted():
        pytest.skip("this host shares the store without a mount of its own")
    lab.virsh("destroy", lab.name)
    subprocess.run(["umount", VIEW], check=True)
    VIEW.rmdir()
    by_hand = lab.run("virsh", "-c", "qemu:///system", "start", lab.name)
    assert by_hand.returncode != 0
    assert str(VIEW) in by_hand.stderr
    assert lab.cycle()["verdict"] == "ok"
    assert view_is_mounted()
    assert "the host refuses writes too" in lab.loop("verify").stdout


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('  { path = "plain.img" },\n', "", "plain.img becomes "),
        (
            '{ path = "fixed.img", readonly = true }',
            '{ path = "fixed.img" }',
            "devices/disk/readonly: not wanted any more",
        ),
        ('source = "share" }', 'source = "guest" }', "devices/filesystem/source dir:"),
    ],
)
def test_a_changed_device_makes_a_restart_due(lab: Lab, old: str, new: str, reason: str) -> None:
    """In words, before anything is done."""
    with lab.configured(old, new):
        planned = lab.loop("rebuild", "--plan")
    assert planned.returncode == 0, planned.stderr
    assert "restart" in planned.stdout + planned.stderr
    assert reason in planned.stdout + planned.stderr


def test_a_disk_that_is_gone_stops_nothing(lab: Lab) -> None:
    """A cycle that would need it ends before the guest does, and before the flip."""
    before, current = lab.boot_id(), (lab.state / "current").readlink()
    (lab.folder / "fixed.img").rename(lab.folder / "elsewhere.img")
    try:
        with lab.edited("configuration.nix", 'label = "2";', 'label = "3";'):
            said = lab.fails(5)
    finally:
        (lab.folder / "elsewhere.img").rename(lab.folder / "fixed.img")
    assert "machine.disks[2]" in said
    assert lab.boot_id() == before
    assert (lab.state / "current").readlink() == current


def test_a_disk_of_another_format(lab: Lab) -> None:
    """QEMU refuses it: cause and cure are told, and the guest is back on what it had."""
    with lab.configured('{ path = "plain.img" }', '{ path = "plain.img", format = "qcow2" }'):
        said = lab.fails(5)
    assert "Image is not in qcow2 format" in said
    assert 'format = "raw"' in said
    assert "rolled back to generation" in said
    assert lab.guest("head -n 1 /dev/vdb") == "marker-on-vdb"
    assert lab.cycle()["exit_code"] == 0


def test_a_disk_that_somebody_uses(lab: Lab) -> None:
    """QEMU refuses to share it; when it is free again, everything is as before."""
    lab.virsh("destroy", lab.name)
    drive = f"if=virtio,format=raw,file={lab.folder}/plain.img"
    other = ["qemu-system-x86_64", "-S", "-nodefaults", "-display", "none", "-qmp", "stdio", "-drive", drive]
    with subprocess.Popen(other, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        assert b"QMP" in user.stdout.readline()  # so it has opened its disk
        said = lab.fails(5)
        user.terminate()
    assert "another QEMU uses one of the domain's disks" in said
    assert lab.cycle()["exit_code"] == 0


def test_without_the_shared_store(lab: Lab) -> None:
    """The domain has no share and no shared memory, says so to whoever wants a cycle, and gets both back."""
    assert "leave one of them out" in lab.fails(2, "--no-virtiofs", "--start", command="create")
    created = lab.loop("create", "--no-virtiofs")
    assert created.returncode == 0, created.stderr
    xml = lab.virsh("dumpxml", "--inactive", lab.name)
    assert "virtiofs" not in xml
    assert "memfd" not in xml
    assert "data.qcow2" in xml
    said = lab.fails(5)
    assert "was created without the shared store" in said
    assert "nixvm-loop create puts the shared store back" in said
    assert lab.loop("status").returncode == 0
    assert "was created without" in lab.fails(5, command="rollback")
    with lab.watch() as watch:
        assert watch.finished("failed")["exit_code"] == 5
    assert lab.loop("create").returncode == 0
    assert lab.cycle()["exit_code"] == 0
    assert lab.loop("verify").returncode == 0


def test_a_domain_without_the_store_can_be_deleted(make_lab: Callable[..., Lab]) -> None:
    """As any other that `create` has made, started or not."""
    lab = make_lab()
    assert lab.loop("create", "--no-virtiofs").returncode == 0
    assert lab.loop("delete", "--yes").returncode == 0
    assert lab.name not in lab.virsh("list", "--all", "--name").split()


def test_a_store_that_is_mounted_read_only_needs_no_view() -> None:
    """As on NixOS: it is shared as it is, and nothing can be changed there."""
    repo = Path(os.environ["NIXVM_LOOP_REPO"])
    assert storeview.available(repo) == HostStore(str(repo), unchanging=True)
