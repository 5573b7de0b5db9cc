from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.cycle import needs
from nixvm_loop.domain import Connection
from nixvm_loop.domainxml import DomainXml, HostFacts, Owner, create, read
from nixvm_loop.errors import DomainError
from nixvm_loop.model.settings import Disk, DiskFormat, FolderShare, GuestSettings, MachineSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

NETWORK = "<network><name>{}</name><bridge name='{}'/><ip address='10.9.{}.1' netmask='255.255.255.0'/></network>"
NODE = "<node><domain type='test'><name>test</name><memory>65536</memory><os><type>hvm</type></os></domain>{}</node>"
QEMU = 64055
HOST = HostFacts("x86_64", False, "none", False, False, None, QEMU, (QEMU,), 9_000_000)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own are closed."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[Connection]:
    """Libvirt's test driver with an active network, `up`, and one that is not, `down`."""
    (tmp_path / "node.xml").write_text(NODE.format(NETWORK.format("up", "b1", 1) + NETWORK.format("down", "b2", 2)))
    opened = await Connection.open(f"test://{tmp_path}/node.xml")
    opened._host = HOST
    opened.handle.networkLookupByName("down").destroy()
    yield opened
    await opened.close()


def guest(machine: MachineSettings) -> GuestSettings:
    return GuestSettings("demo", "/f", None, "a", "demo", "test:///default", Path("/state/demo"), machine=machine)


def wanted(machine: MachineSettings) -> DomainXml:
    return read(
        create(
            machine, name="demo", owner=Owner("demo", "/s"), host=HOST, share="store", kernel="/k", initrd="/i",
            cmdline="init=/x", ssh_public_key=None,
        )
    )  # fmt: skip


async def check(connection: Connection, machine: MachineSettings) -> None:
    await needs.check(guest(machine), connection, wanted(machine))


async def refused(connection: Connection, machine: MachineSettings) -> DomainError:
    with pytest.raises(DomainError) as caught:
        await check(connection, machine)
    return caught.value


async def test_networks(connection: Connection) -> None:
    """One that is active will do; one that is not, or is not there, is named with the command that helps."""
    await check(connection, MachineSettings(networks=("up", "up")))
    down = await refused(connection, MachineSettings(networks=("up", "down")))
    assert down.message == "libvirt's network down is not active"
    assert "`virsh net-start down`" in str(down.hint)
    gone = await refused(connection, MachineSettings(networks=("nowhere",)))
    assert gone.message == "looking for network nowhere failed: libvirt has no network nowhere"
    assert "virsh net-list --all" in str(gone.hint)


async def test_disks_that_are_there(connection: Connection, folder: Path) -> None:
    """A file that QEMU's user may use as it is to be used."""
    image = folder / "a.img"
    image.touch()
    image.chmod(0o606)
    await check(connection, MachineSettings(disks=(Disk(image),)))
    image.chmod(0o604)
    await check(connection, MachineSettings(disks=(Disk(image, readonly=True),)))


async def test_a_disk_that_is_missing(connection: Connection, folder: Path) -> None:
    """The key and the path are named, and the command that makes one of its format."""
    image = folder / "data.qcow2"
    error = await refused(connection, MachineSettings(disks=(Disk(image),)))
    assert error.message == f"guests.demo.machine.disks[0]: {image} does not exist"
    assert f"qemu-img create -f qcow2 {image}" in str(error.hint)
    error = await refused(connection, MachineSettings(disks=(Disk(folder / "b", DiskFormat.RAW),)))
    assert "qemu-img create -f raw" in str(error.hint)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/", "/ is not a file"),
        ("/dev/null", "/dev/null is not a block device"),
        ("/etc/passwd/disk", "/etc/passwd/disk cannot be looked at: Not a directory"),
    ],
)
async def test_what_is_no_disk(connection: Connection, path: str, said: str) -> None:
    """A folder, a device of another kind, a path through a file."""
    error = await refused(connection, MachineSettings(disks=(Disk(Path(path)),)))
    assert error.message == f"guests.demo.machine.disks[0]: {said}"


async def test_a_disk_that_is_closed_to_qemu(connection: Connection, folder: Path) -> None:
    """Where libvirt must not give it away, its mode has to let QEMU's user in, or its access list."""
    image = folder / "a.img"
    image.touch()
    image.chmod(0o644)
    error = await refused(connection, MachineSettings(disks=(Disk(image),)))
    assert error.message == f"guests.demo.machine.disks[0]: QEMU's user (uid {QEMU}) may not read and write {image}"
    assert f"setfacl -m u:{QEMU}:rw {image}" in str(error.hint)
    try:
        os.setxattr(image, "system.posix_acl_access", acl(QEMU))
    except OSError as failed:
        pytest.skip(f"no access lists here: {failed}")
    await check(connection, MachineSettings(disks=(Disk(image),)))


async def test_a_disk_behind_a_closed_door(connection: Connection, folder: Path) -> None:
    """The folder that keeps QEMU's user out is named, the outermost one."""
    inner = folder / "closed" / "inner"
    inner.mkdir(parents=True)
    image = inner / "a.img"
    image.touch()
    image.chmod(0o666)
    for closed in (folder / "closed", inner):
        closed.chmod(0o700)
    error = await refused(connection, MachineSettings(disks=(Disk(image),)))
    assert error.message == f"guests.demo.machine.disks[0]: QEMU's user (uid {QEMU}) may not enter {folder}/closed"
    assert f"setfacl -m u:{QEMU}:x {folder}/closed" in str(error.hint)


async def test_a_disk_behind_a_link_in_a_closed_folder(connection: Connection, folder: Path) -> None:
    """QEMU opens the path as it is written: each folder on the way counts, before a link and behind it."""
    for name in ("open", "closed", "hidden"):
        (folder / name).mkdir()
    image = folder / "open/a.img"
    image.touch()
    image.chmod(0o666)
    for link, to in (("closed/link", "../open/a.img"), ("open/in", folder / "hidden"), ("hidden/back", image)):
        (folder / link).symlink_to(to)
    for name in ("closed", "hidden"):
        (folder / name).chmod(0o700)
    await check(connection, MachineSettings(disks=(Disk(image),)))
    for path, closed in (("closed/link", "closed"), ("open/in/back", "hidden"), ("closed/../open/a.img", "closed")):
        error = await refused(connection, MachineSettings(disks=(Disk(folder / path),)))
        assert error.message.endswith(f"QEMU's user (uid {QEMU}) may not enter {folder}/{closed}"), path


def acl(uid: int) -> bytes:
    """The kernel's form of `u::rw,u:UID:rw,g::r,m::rw,o::r`."""
    nobody = 0xFFFFFFFF
    entries = ((0x01, 6, nobody), (0x02, 6, uid), (0x04, 4, nobody), (0x10, 6, nobody), (0x20, 4, nobody))
    packed = (
        tag.to_bytes(2, "little") + may.to_bytes(2, "little") + who.to_bytes(4, "little") for tag, may, who in entries
    )
    return (2).to_bytes(4, "little") + b"".join(packed)


async def test_shares(connection: Connection, tmp_path: Path) -> None:
    """A folder that is there; what the host cannot keep read-only is refused rather than shared writable."""
    (tmp_path / "file").touch()
    shares = {name: FolderShare("t", tmp_path / name) for name in ("", "file", "missing")}
    await check(connection, MachineSettings(shares=(shares[""],)))
    error = await refused(connection, MachineSettings(shares=(shares[""], shares["file"])))
    assert error.message == f"guests.demo.machine.shares[1]: {tmp_path}/file is not a folder"
    error = await refused(connection, MachineSettings(shares=(shares["missing"],)))
    assert error.message == f"guests.demo.machine.shares[0]: {tmp_path}/missing does not exist"
    fixed = MachineSettings(shares=(replace(shares[""], readonly=True),))
    error = await refused(connection, fixed)
    assert "cannot share" in error.message
    assert "read-only mount" in str(error.hint)
    connection._host = replace(HOST, readonly_share=True)
    await check(connection, fixed)


def test_who_uses_the_view() -> None:
    """A domain that shares it, or that boots from it; not one with a folder of a similar name."""
    plain = wanted(MachineSettings())
    assert not needs.uses_view(plain)
    assert needs.uses_view(replace(plain, kernel="/run/nixvm-loop/store/abc/bzImage"))
    shared = plain.shares[0]
    assert needs.uses_view(replace(plain, shares=(replace(shared, source="/run/nixvm-loop/store"),)))
    assert not needs.uses_view(replace(plain, shares=(replace(shared, source="/run/nixvm-loop/storehouse"),)))
