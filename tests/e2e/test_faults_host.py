"""What the host gets in the way: libvirt, the domain, a port, the state directory. The next good `rebuild` recovers."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.e2e.lab import Lab

PAGE_BYTES = 4096


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    """A running guest of root's."""
    made = make_lab()
    assert made.loop("create", "--start").returncode == 0
    yield made
    made.remove()


@pytest.fixture(autouse=True)
def _nothing_left(lab: Lab) -> Iterator[None]:
    yield
    assert lab.strays() == []


@pytest.fixture
def _untouched(lab: Lab) -> Iterator[None]:
    """The guest goes on in the same boot, whatever the test does."""
    before = lab.boot_id()
    yield
    assert lab.boot_id() == before


@pytest.mark.usefixtures("_untouched")
def test_libvirt_does_not_run(lab: Lab) -> None:
    """A socket that is not there is exit 5 after the build, with the socket and how libvirt is started."""
    uri = 'libvirt_uri = "qemu:///system?socket=/run/nobody-is-here"\n\n'
    with lab.configured(f"[guests.{lab.name}.apply]", f"{uri}[guests.{lab.name}.apply]"):
        said = lab.fails(5)
        status = lab.loop("status")
    assert "nothing answers at /run/nobody-is-here" in said
    assert "systemctl start libvirtd" in said
    assert status.returncode == 0
    assert "/run/nobody-is-here" in status.stdout + status.stderr


@pytest.mark.usefixtures("_untouched")
def test_a_user_who_may_not_use_libvirt(lab: Lab, make_lab: Callable[..., Lab]) -> None:
    """Not being in the group is exit 5, naming the socket and the group; nothing of the guest changes."""
    other = make_lab(as_user=True)
    home = str(other.world.user_home)
    other.prefix = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "env", f"HOME={home}")
    said = other.fails(5)
    assert "you may not use libvirt's socket /" in said
    assert "usermod -aG libvirt" in said
    assert lab.domain_state() == "running"


@pytest.mark.usefixtures("_untouched")
def test_a_domain_that_is_not_there(lab: Lab) -> None:
    """A misspelt domain is exit 5, with the one that was meant; the build leaves no generation behind."""
    near = lab.name[:-1] + "x" + lab.name[-1]
    numbers = sorted(path.name for path in (lab.state / "generations").iterdir())
    with lab.configured("state_dir = ", f'domain = "{near}"\nstate_dir = '):
        said = lab.fails(5)
    assert f"this guest's domain is {lab.name} (UUID {lab.virsh('domuuid', lab.name)}), not {near}" in said
    assert f'domain = "{lab.name}" in the config names it again' in said
    assert sorted(path.name for path in (lab.state / "generations").iterdir()) == numbers


@pytest.mark.usefixtures("_untouched")
def test_a_domain_that_somebody_else_made(lab: Lab) -> None:
    """Neither `create` nor `rebuild` touches a domain without our mark; `delete` leaves it where it is."""
    foreign = f"{lab.name}-foreign"
    xml = "<domain type='qemu'><name>{}</name><memory>65536</memory><os><type>hvm</type></os></domain>"
    lab.write(lab.folder / "foreign.xml", xml.format(foreign))
    lab.virsh("define", str(lab.folder / "foreign.xml"))
    before = lab.virsh("dumpxml", foreign)
    try:
        with (
            lab.configured("state_dir = ", f'domain = "{foreign}"\nstate_dir = '),
            lab.configured(f'state_dir = "{lab.state.parent}"', f'state_dir = "{lab.state.parent}-foreign"'),
        ):
            for command in ("create", "rebuild"):
                said = lab.fails(5, command=command)
                assert f"domain {foreign} was not made by nixvm-loop" in said
                assert f"[guests.{lab.name}.machine]" in said
            assert lab.loop("delete", "--yes").returncode == 0
        assert lab.virsh("dumpxml", foreign) == before
    finally:
        lab.virsh("undefine", foreign)


@pytest.mark.usefixtures("_untouched")
@pytest.mark.parametrize("free_pages", [0, 1, 2])
def test_the_disk_is_full(lab: Lab, free_pages: int) -> None:
    """A disk that fills up before the flip, be it at the first write or later, is exit 4 and names place and reason."""
    small = lab.folder / "small"
    small.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0755", "tmpfs", small], check=True)
    try:
        shutil.copytree(lab.state, small / lab.name, symlinks=True)
        subprocess.run(["mount", "--bind", small / lab.name, lab.state], check=True)
        fill(small / "filler", free_pages)
        with lab.edited("configuration.nix", "Hello from the mini guest.", f"No room ({free_pages})."):
            said = lab.fails(4)
    finally:
        subprocess.run(["umount", lab.state], check=True)
        subprocess.run(["umount", small], check=True)
    assert "nixvm-loop: error: " in said
    assert "No space left on device" in said


def fill(file: Path, free_pages: int) -> None:
    """Leave so much room on the file's disk."""
    with file.open("wb", buffering=0) as filler:
        with contextlib.suppress(OSError):
            while True:
                filler.write(bytes(PAGE_BYTES))
        filler.truncate(filler.tell() - free_pages * PAGE_BYTES)


@pytest.mark.usefixtures("_untouched")
def test_a_state_directory_that_cannot_be_written(lab: Lab) -> None:
    """A read-only state directory is exit 4, naming it and the reason; nothing happened."""
    subprocess.run(["mount", "--bind", lab.state, lab.state], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", lab.state], check=True)
    try:
        said = lab.fails(4)
        status = lab.loop("status")
    finally:
        subprocess.run(["umount", lab.state], check=True)
    assert str(lab.state) in said
    assert "Read-only file system" in said
    assert status.returncode == 0
    assert lab.cycle()["verdict"] == "unchanged"


@pytest.mark.usefixtures("_untouched")
def test_a_journal_that_cannot_be_written(lab: Lab) -> None:
    """It is told, and takes nothing from a verdict that stands."""
    journal, aside = lab.state / "journal.jsonl", lab.state / "journal.aside"
    lab.cycle()
    journal.rename(aside)
    journal.mkdir()
    try:
        done = lab.loop("rebuild")
    finally:
        journal.rmdir()
        aside.rename(journal)
    assert done.returncode == 0
    assert str(journal) in done.stderr
    assert "unchanged" in done.stdout


def test_a_state_directory_in_a_flake_without_git(lab: Lab) -> None:
    """It would be a part of the flake, key and all: refused before anything is built."""
    plain = lab.folder / "plain"
    lab.run("cp", "-r", str(lab.flake), str(plain))
    lab.run("rm", "-rf", str(plain / ".git"))
    with (
        lab.configured('flake = "./guest"', 'flake = "./plain"'),
        lab.configured(f'state_dir = "{lab.state.parent}"', f'state_dir = "{plain}/state"'),
    ):
        said = lab.fails(2)
    assert f"is in the flake {plain}" in said
    assert not (plain / "state").exists()


def test_the_second_rebuild_waits(lab: Lab) -> None:
    """Of two at once, the second waits, names who holds the guest, and then finds nothing left to do."""
    slow = 'packages = { slow = "sleep 3; mkdir $out"; }'
    with lab.edited("configuration.nix", "packages = { }", slow):
        first = subprocess.Popen(
            ["nixvm-loop", "rebuild", "-o", "json"], cwd=lab.folder, stdout=subprocess.PIPE, text=True
        )
        assert first.stdout is not None
        for line in first.stdout:
            if '"cycle_started"' in line:
                break
        second = lab.loop("rebuild")
    first.communicate(timeout=60)
    assert first.returncode == 0
    assert second.returncode == 0, second.stderr
    assert f"nixvm-loop rebuild (process {first.pid}, since " in second.stderr
    assert "unchanged" in second.stdout


def test_a_port_in_use(lab: Lab) -> None:
    """Somebody else's port is exit 5 with its number and who to ask, and the running guest is not touched for it."""
    lab.cycle()
    before = lab.boot_id()
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        with lab.configured(f"ssh_port = {lab.port}", f"ssh_port = {taken}"):
            said = lab.fails(5)
    assert f"port {taken} of 127.0.0.1 cannot be used: Address already in use" in said
    assert "machine.ssh_port" in said
    assert lab.boot_id() == before
    assert lab.cycle()["verdict"] == "unchanged"


def test_a_port_in_use_while_the_guest_is_off(lab: Lab) -> None:
    """The same for a guest that is off; as soon as the port is free it starts."""
    lab.virsh("destroy", lab.name)
    with socket.create_server(("127.0.0.1", lab.port)):
        assert f"port {lab.port} of 127.0.0.1" in lab.fails(5)
    assert lab.domain_state() == "shut off"
    assert lab.cycle()["verdict"] == "ok"
    assert lab.booted() == lab.toplevel()


def test_a_change_of_the_machine(lab: Lab) -> None:
    """More memory in the config is a restart with that reason, and the guest has it."""

    def memory_kib() -> int:
        return int(lab.guest("grep MemTotal /proc/meminfo").split()[1])

    before = memory_kib()
    with lab.configured('memory = "512MiB"', 'memory = "640MiB"'):
        done = lab.loop("rebuild")
        assert done.returncode == 0, done.stderr
        assert "memory" in done.stderr
        assert 100_000 < memory_kib() - before < 140_000
    assert lab.cycle()["action"] == "restart"


def test_a_domain_that_somebody_stopped(lab: Lab) -> None:
    """A guest that somebody stopped is started by the next cycle, and the same system verified again."""
    lab.virsh("destroy", lab.name)
    ended = lab.cycle()
    assert (ended["verdict"], ended["action"]) == ("ok", "restart")


def test_a_domain_that_somebody_defined_anew(lab: Lab) -> None:
    """What others wrote into the definition is told and put back, without a restart where none is needed."""
    before = lab.boot_id()
    good = lab.virsh("dumpxml", "--inactive", lab.name)
    lab.write(lab.folder / "theirs.xml", good.replace("panic=-1", "panic=5"))
    lab.virsh("define", str(lab.folder / "theirs.xml"))
    done = lab.loop("rebuild")
    assert done.returncode == 0
    assert "this cycle sets it right" in done.stderr
    assert lab.virsh("dumpxml", "--inactive", lab.name) == good
    assert lab.boot_id() == before


def test_a_guest_that_somebody_booted_otherwise(lab: Lab) -> None:
    """Another system that somebody booted in the domain is seen, and replaced by what was built."""
    older = lab.toplevel()
    with lab.edited("configuration.nix", "Hello from the mini guest.", "The newer one."):
        lab.cycle()
        good = lab.virsh("dumpxml", "--inactive", lab.name)
        lab.write(lab.folder / "theirs.xml", good.replace(lab.toplevel(), older))
        lab.virsh("define", str(lab.folder / "theirs.xml"))
        lab.virsh("destroy", lab.name)
        lab.virsh("start", lab.name)
        ended = lab.cycle()
        assert (ended["verdict"], ended["action"]) == ("ok", "restart")
        assert lab.guest("cat /etc/motd") == "The newer one."
    assert lab.virsh("dumpxml", "--inactive", lab.name) == good


@pytest.mark.usefixtures("_untouched")
def test_every_command_without_a_config(lab: Lab) -> None:
    """Without a config every command is exit 2 and says how to get one."""
    for command in ("create", "delete", "rebuild", "watch", "verify", "status", "ssh", "console"):
        done = subprocess.run(
            ["nixvm-loop", command], cwd=lab.folder.parent, capture_output=True, text=True, timeout=20, check=False
        )
        assert done.returncode == 2, (command, done.stderr)
        assert "nixvm-loop.toml" in done.stderr
