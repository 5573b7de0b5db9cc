"""A domain that was installed the ordinary way is taken into the loop, boots what was built, and is given back."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lxml import etree

from tests.e2e import configs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.lab import Lab

# No <kernel>, no shared memory, no share: what virt-install leaves behind, and a key so that the guest lets us in.
DOMAIN = """
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <metadata><mine:notes xmlns:mine='urn:mine'><mine:note>leave this</mine:note></mine:notes></metadata>
  <memory unit='MiB'>768</memory>
  <vcpu>1</vcpu>
  <sysinfo type='smbios'><oemStrings>
    <entry>io.systemd.credential:ssh.authorized_keys.root={public_key}</entry>
  </oemStrings></sysinfo>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    {firmware}
    <boot dev='hd'/>
    <smbios mode='sysinfo'/>
  </os>
  <features><acpi/></features>
  <cpu mode='maximum'/>
  <on_poweroff>destroy</on_poweroff><on_reboot>destroy</on_reboot><on_crash>destroy</on_crash>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/><source file='{disk}'/><target dev='vda' bus='virtio'/>
    </disk>
    <serial type='pty'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-netdev'/><qemu:arg value='user,id=mine,hostfwd=tcp:127.0.0.1:{port}-:22'/>
    <qemu:arg value='-device'/><qemu:arg value='virtio-net-pci,netdev=mine,addr=0x10'/>
  </qemu:commandline>
</domain>
"""
OVMF = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
FIRMWARES = {
    "bios": "",
    "uefi": f"<loader readonly='yes' type='pflash'>{OVMF}</loader>"
    "<nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>{nvram}</nvram>",
}
VIRTIO_DISK = "0x1042"
NO_PCI = """<domain type='qemu'><name>{}</name><memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='isapc'>hvm</type></os><devices><controller type='usb' model='none'/>
  <memballoon model='none'/></devices></domain>"""


@dataclass(frozen=True)
class Installed:
    """A lab whose domain was installed the ordinary way, and that domain as it was."""

    lab: Lab
    before: str

    def definition(self) -> str:
        """The domain as it is defined now."""
        return self.lab.virsh("dumpxml", "--inactive", "--security-info", self.lab.name)


@pytest.fixture(scope="module", params=list(FIRMWARES))
def installed(request: pytest.FixtureRequest, make_lab: Callable[..., Lab]) -> Iterator[Installed]:
    """A domain with a disk of its own, defined with virsh by a user who is not root."""
    assert OVMF.exists(), "the package ovmf is not installed: scripts/setup installs it"
    lab = make_lab(as_user=True)
    public_key = configs.with_key(lab)
    disk = lab.folder / "disk.img"
    assert lab.run("truncate", "-s", "64M", str(disk)).returncode == 0
    lab.configure(configs.own(lab, boot_timeout="120s"))
    text = DOMAIN.format(
        name=lab.name,
        firmware=FIRMWARES[request.param].format(nvram=f"/var/lib/libvirt/qemu/nvram/{lab.name}_VARS.fd"),
        public_key=public_key,
        disk=disk,
        port=lab.port,
    )
    lab.write(lab.folder / "domain.xml", text)
    lab.virsh("define", str(lab.folder / "domain.xml"))
    yield Installed(lab, lab.virsh("dumpxml", "--inactive", "--security-info", lab.name))
    lab.run("virsh", "-c", "qemu:///system", "destroy", lab.name)
    lab.run("virsh", "-c", "qemu:///system", "undefine", "--nvram", lab.name)


@pytest.fixture(autouse=True)
def _nothing_left(installed: Installed) -> Iterator[None]:
    yield
    assert installed.lab.strays() == []


def less_what_is_added(xml: str) -> str:
    """A definition without what adoption adds, and without the place that libvirt gave to the share."""
    root = etree.fromstring(xml, etree.XMLParser(remove_blank_text=True))
    for path in ("os/kernel", "os/initrd", "os/cmdline", "memoryBacking", "devices/filesystem"):
        for element in root.findall(path):
            parent = element.getparent()
            assert parent is not None
            parent.remove(element)
    return etree.tostring(root, encoding="unicode")


def test_before_its_adoption(installed: Installed) -> None:
    """A cycle refuses the domain and names the command that takes it; it is not changed."""
    said = installed.lab.fails(5)
    assert "does not boot a kernel directly" in said
    assert f"`nixvm-loop adopt {installed.lab.name}`" in said
    assert installed.definition() == installed.before


def test_it_boots_what_was_built(installed: Installed) -> None:
    """Adopted, it boots the flake's system and every check holds; firmware, disk and the rest are to the letter."""
    lab = installed.lab
    done = lab.loop("adopt", lab.name, "--yes")
    assert done.returncode == 0, done.stderr
    assert (lab.state / "adopted.xml").stat().st_mode & 0o777 == 0o600
    assert less_what_is_added(installed.definition()) == less_what_is_added(installed.before)
    ended = lab.cycle()
    assert (ended["verdict"], ended["action"]) == ("ok", "restart")
    assert lab.booted() == lab.toplevel()
    assert lab.guest(f"grep -lx {VIRTIO_DISK} /sys/bus/pci/devices/*/device").endswith("/device")
    assert lab.loop("verify", "-v").returncode == 0
    assert lab.cycle()["verdict"] == "unchanged"
    assert less_what_is_added(installed.definition()) == less_what_is_added(installed.before)


def test_adopted_already(installed: Installed) -> None:
    """A second adopt, even while the guest runs, changes nothing."""
    adopted = installed.definition()
    done = installed.lab.loop("adopt")
    assert done.returncode == 0, done.stderr
    assert f"domain {installed.lab.name} is adopted already" in done.stderr
    assert installed.definition() == adopted


def test_given_back(installed: Installed) -> None:
    """Release waits for the guest to be off; then libvirt's own text of the domain is the one from before."""
    lab = installed.lab
    assert f"domain {lab.name} is running" in lab.fails(5, "--yes", command="release")
    lab.virsh("destroy", lab.name)
    nvram = Path(f"/var/lib/libvirt/qemu/nvram/{lab.name}_VARS.fd")
    variables = hashlib.sha256(nvram.read_bytes()).hexdigest() if nvram.exists() else None
    done = lab.loop("release", "--yes")
    assert done.returncode == 0, done.stderr
    assert "lost by this" not in done.stderr
    assert installed.definition() == installed.before
    assert not (lab.state / "adopted.xml").exists()
    assert (hashlib.sha256(nvram.read_bytes()).hexdigest() if nvram.exists() else None) == variables
    assert "does not boot a kernel directly" in lab.fails(5)


def test_renamed_meanwhile(installed: Installed) -> None:
    """An adopted domain is known under another name, and given back under it: libvirt renames none by a definition."""
    lab, name = installed.lab, f"{installed.lab.name}-mine"
    assert lab.loop("adopt", "--yes").returncode == 0
    lab.virsh("domrename", lab.name, name)
    assert f"this guest's domain is {name} (UUID " in lab.fails(5)
    assert f"not defined (this guest's domain is {name}" in lab.loop("status").stdout
    with lab.configured("attribute =", f'domain = "{name}"\nattribute ='):
        done = lab.loop("release", "--yes")
    assert done.returncode == 0, done.stderr
    lab.virsh("domrename", name, lab.name)
    assert installed.definition() == installed.before


def test_taken_again_while_it_runs(installed: Installed) -> None:
    """The domain runs from its disk; adopted with --while-running, the next cycle restarts it into the loop."""
    lab = installed.lab
    lab.virsh("start", lab.name)
    assert lab.loop("adopt", "--yes", "--while-running").returncode == 0
    assert "<kernel>" not in lab.virsh("dumpxml", lab.name)
    ended = lab.cycle()
    assert (ended["verdict"], ended["action"]) == ("ok", "restart")
    lab.virsh("destroy", lab.name)
    assert lab.loop("release", "--yes").returncode == 0
    assert installed.definition() == installed.before


def test_what_libvirt_refuses(installed: Installed) -> None:
    """A machine without a PCI bus cannot have the share: libvirt's words are told, and nothing is half done."""
    lab, name = installed.lab, f"{installed.lab.name}-isa"
    lab.write(lab.folder / "isa.xml", NO_PCI.format(name))
    lab.virsh("define", str(lab.folder / "isa.xml"))
    try:
        before = lab.virsh("dumpxml", name)
        own = lab.state.parent / "isa"
        config = f'[guests.isa]\nflake = "./guest"\ndomain = "{name}"\nstate_dir = "{lab.state.parent}"\n\n[guests.'
        with lab.configured(f"[guests.{lab.name}]", f"{config}{lab.name}]"):
            said = lab.fails(5, name, "--yes", command="adopt")
        assert "defining the domain failed: " in said
        assert lab.virsh("dumpxml", name) == before
        assert sorted(path.name for path in own.iterdir()) == ["lock"]
    finally:
        lab.virsh("undefine", name)
