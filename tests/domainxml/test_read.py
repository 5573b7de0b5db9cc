from __future__ import annotations

from pathlib import Path

import pytest

from nixvm_loop.domainxml import Interface, Share, read
from nixvm_loop.domainxml.capabilities import interface_backends, read_capabilities
from nixvm_loop.domainxml.mark import mark_element, mark_text
from nixvm_loop.errors import DomainError
from nixvm_loop.model.settings import Forward

FIXTURES = Path(__file__).parents[1] / "fixtures" / "libvirt"


@pytest.mark.parametrize("name", ["user.xml", "user-9.0.xml", "user-11.3.xml"])
def test_reads_a_domain_made_by_hand(name: str) -> None:
    """The facts are the same in what a user wrote and in what libvirt made of it."""
    facts = read((FIXTURES / name).read_text())
    assert (facts.name, facts.uuid, facts.kind) == ("byhand", "11111111-2222-3333-4444-555555555555", "qemu")
    assert (facts.kernel, facts.initrd, facts.cmdline) == ("/boot/kernel", "/boot/initrd", "init=/old/init quiet")
    assert facts.boots_directly
    assert facts.loader is None
    assert facts.shares == (
        Share("nix-store-share", "/nix/store", "virtiofs", 512, readonly=False),
        Share("srv", "/srv", "path", None, readonly=True),
    )
    assert facts.shared_memory
    assert facts.on_reboot == "restart"
    assert facts.interfaces == (Interface("network", "52:54:00:12:34:56", "default"),)
    assert facts.forwards == (Forward(2299, 22), Forward(8080, 80))
    assert facts.ssh_port == 2299
    assert facts.consoles == ("pty",)
    assert facts.owner is None


def test_reads_port_forwards_and_numa_memory() -> None:
    """Ports of a passt backend count (TCP only), and shared NUMA cells are shared memory."""
    facts = read("""<domain type='kvm'><name>n</name>
      <cpu><numa><cell id='0' memAccess='shared'/></numa></cpu>
      <devices><interface type='user'><backend type='passt'/>
        <portForward proto='tcp' address='127.0.0.1'><range start='2222' to='22'/><range start='9000'/></portForward>
        <portForward proto='udp'><range start='53'/></portForward>
      </interface></devices></domain>""")
    assert facts.forwards == (Forward(2222, 22), Forward(9000, 9000))
    assert facts.shared_memory
    assert not facts.boots_directly
    assert facts.on_reboot == "restart"


@pytest.mark.parametrize(("text", "says"), [("<domain>", "cannot be read"), ("<network/>", "<network>")])
def test_refuses_what_is_no_domain(text: str, says: str) -> None:
    """Text that is not a domain's XML is an error of the domain, told in words."""
    with pytest.raises(DomainError, match=says):
        read(text)


def test_opens_no_file_for_an_entity(tmp_path: Path) -> None:
    """An entity that names a file is not followed."""
    (tmp_path / "secret").write_text("secret")
    text = f'<!DOCTYPE domain [<!ENTITY x SYSTEM "file://{tmp_path}/secret">]><domain><name>&x;</name></domain>'
    assert "secret" not in read(text).name


@pytest.mark.parametrize(("version", "backends"), [("9.0", None), ("11.3", ("default", "passt"))])
def test_reads_the_host(version: str, backends: tuple[str, ...] | None) -> None:
    """The processor and QEMU's user come from the capabilities, the backends from those of the domain."""
    host = read_capabilities((FIXTURES / f"capabilities-{version}.xml").read_text())
    assert (host.arch, host.qemu_uid, host.qemu_gid) == ("x86_64", 64055, 64055)
    assert interface_backends((FIXTURES / f"domcapabilities-{version}.xml").read_text()) == backends


def test_a_host_that_does_not_name_its_user() -> None:
    """Without a DAC label nothing is made up."""
    host = read_capabilities("<capabilities><host><cpu><arch>aarch64</arch></cpu></host></capabilities>")
    assert (host.arch, host.qemu_uid, host.qemu_gid) == ("aarch64", None, None)


def test_a_mark_survives_any_text() -> None:
    """What goes into the metadata comes out again, whatever XML thinks of its characters."""
    assert mark_text(mark_element("3 <&'\"> ü")) == "3 <&'\"> ü"
    assert mark_text("<other/>") is None
