"""A domain that the user wrote: nixvm-loop sets what it boots and nothing else, and neither makes nor removes it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from lxml import etree

from tests.e2e import configs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.lab import Lab

# What somebody might have: a comment, a title, an odd order, a boot with other files and words, a device more.
DOMAIN = """
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <title>Mine</title>
  <description>made &lt;by hand&gt; &amp; kept</description>
  <metadata><mine:notes xmlns:mine='urn:mine'><mine:note>leave this</mine:note></mine:notes></metadata>
  <memory unit='MiB'>512</memory>
  <vcpu>1</vcpu>
  <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>
  <sysinfo type='smbios'><oemStrings>
    <entry>io.systemd.credential:ssh.authorized_keys.root={public_key}</entry>
    <entry>something else</entry>
  </oemStrings></sysinfo>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>/boot/before</kernel><initrd>/boot/before-too</initrd><cmdline>what was before</cmdline>
    <smbios mode='sysinfo'/>
  </os>
  <features><acpi/></features>
  <cpu mode='maximum'/>
  <on_poweroff>destroy</on_poweroff><on_reboot>destroy</on_reboot><on_crash>destroy</on_crash>
  <devices>
    <filesystem type='mount' accessmode='passthrough'>
      <driver type='virtiofs' queue='1024'/><source dir='/nix/store'/><target dir='nix-store-share'/>
    </filesystem>
    <serial type='pty'><target port='0'/></serial>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <watchdog model='i6300esb' action='none'/>
  </devices>
  <seclabel type='none' model='dac'/>
  <qemu:commandline>
    <qemu:arg value='-netdev'/><qemu:arg value='user,id=mine,hostfwd=tcp:127.0.0.1:{port}-:22'/>
    <qemu:arg value='-device'/><qemu:arg value='virtio-net-pci,netdev=mine,addr=0x10'/>
  </qemu:commandline>
</domain>
"""


@dataclass(frozen=True)
class Own:
    """A lab whose domain the user made, and that domain as it was."""

    lab: Lab
    before: str

    def definition(self) -> str:
        """The domain as it is defined now."""
        return self.lab.virsh("dumpxml", "--inactive", self.lab.name)

    def defined(self, old: str, new: str) -> None:
        """Change the definition as its owner would."""
        text = self.definition()
        assert old in text
        self.lab.write(self.lab.folder / "domain.xml", text.replace(old, new))
        self.lab.virsh("define", str(self.lab.folder / "domain.xml"))


@pytest.fixture(scope="module")
def own(make_lab: Callable[..., Lab]) -> Iterator[Own]:
    """A domain made with virsh by a user who is not root, and a config without [machine]."""
    lab = make_lab(as_user=True)
    public_key = configs.with_key(lab)
    lab.configure(configs.own(lab))
    lab.write(lab.folder / "domain.xml", DOMAIN.format(name=lab.name, public_key=public_key, port=lab.port))
    lab.virsh("define", str(lab.folder / "domain.xml"))
    yield Own(lab, lab.virsh("dumpxml", "--inactive", lab.name))
    lab.remove()


@pytest.fixture(autouse=True)
def _nothing_left(own: Own) -> Iterator[None]:
    yield
    assert own.lab.strays() == []


def without_boot(xml: str) -> str:
    """A definition without what a cycle may change."""
    root = etree.fromstring(xml, etree.XMLParser(remove_blank_text=True))
    system = root.find("os")
    assert system is not None
    for tag in ("kernel", "initrd", "cmdline"):
        for element in system.findall(tag):
            system.remove(element)
    return etree.tostring(root, encoding="unicode")


def test_create_is_refused(own: Own) -> None:
    """Without [machine] in the config there is nothing that `create` could define."""
    said = own.lab.fails(2, command="create")
    assert "its domain is the user's own" in said
    assert f"[guests.{own.lab.name}.machine]" in said
    assert own.definition() == own.before


def test_the_first_cycle_and_a_change_of_the_system(own: Own) -> None:
    """Kernel, initrd and command line are set, and nothing else of the definition; the guest runs what was built."""
    lab = own.lab
    ended = lab.cycle()
    assert (ended["verdict"], ended["action"], ended["generation"]) == ("ok", "restart", 1)
    assert lab.booted() == lab.toplevel()
    lab.edit("configuration.nix", "Hello from the mini guest.", "Made by hand.")
    assert lab.cycle()["verdict"] == "ok"
    assert lab.guest("cat /etc/motd") == "Made by hand."
    after = own.definition()
    assert without_boot(after) == without_boot(own.before)
    assert f"init={lab.toplevel()}/init" in after
    assert "what was before" not in after
    assert lab.cycle()["verdict"] == "unchanged"


def test_the_other_ways_in(own: Own) -> None:
    """`ssh` and `verify` find the forwarded port in the domain's own command line."""
    assert own.lab.loop("ssh", "cat", "/etc/motd").stdout.strip() == "Made by hand."
    assert own.lab.loop("verify").returncode == 0


def test_others_changed_the_command_line(own: Own) -> None:
    """What somebody else wrote into the definition is told and set right, without a restart."""
    before = own.lab.boot_id()
    good = own.definition()
    own.defined("panic=-1", "panic=1")
    done = own.lab.loop("rebuild")
    assert done.returncode == 0
    assert "this cycle sets it right" in done.stderr
    assert own.definition() == good
    assert own.lab.boot_id() == before


def test_it_was_started_with_another_command_line(own: Own) -> None:
    """A boot with other words does not pass for the built one; the cycle sets it right by a restart."""
    own.defined("panic=-1", "panic=1")
    own.lab.virsh("destroy", own.lab.name)
    own.lab.virsh("start", own.lab.name)
    ended = own.lab.cycle()
    assert (ended["verdict"], ended["action"]) == ("ok", "restart")
    assert "panic=-1" in own.lab.guest("cat /proc/cmdline").split()


def test_the_guest_rebooted_by_itself(own: Own) -> None:
    """A guest that was rebooted, which ends its domain here, is started again."""
    own.lab.loop("ssh", "reboot")
    deadline = time.monotonic() + 20
    while own.lab.domain_state() != "shut off" and time.monotonic() < deadline:
        time.sleep(0.1)
    ended = own.lab.cycle()
    assert (ended["verdict"], ended["action"]) == ("ok", "restart")


@pytest.mark.parametrize(
    ("old", "new", "says", "cure"),
    [
        ("queue='1024'", "queue='2048'", "refuses the share's queue of 2048", "1024"),
        ("source dir='/nix/store'", "source dir='/not/there'", "/not/there does not exist", "Nix"),
    ],
)
def test_what_cannot_start(own: Own, old: str, new: str, says: str, cure: str) -> None:
    """A domain that libvirt or QEMU refuses is exit 5 with cause and cure; corrected, it works again."""
    own.defined(old, new)
    said = own.lab.fails(5, "--force")
    assert says in said
    assert cure in said
    assert own.lab.domain_state() == "shut off"
    own.defined(new, old)


def test_it_recovers(own: Own) -> None:
    """After all that the same system boots and verifies."""
    assert own.lab.cycle()["verdict"] == "ok"
    assert without_boot(own.definition()) == without_boot(own.before)


def test_one_that_does_not_boot_directly(own: Own) -> None:
    """A domain without <kernel> is exit 5, naming `adopt`; it is neither changed nor stopped."""
    other = f"{own.lab.name}-disk"
    xml = "<domain type='qemu'><name>{}</name><memory>65536</memory><os><type>hvm</type></os></domain>"
    own.lab.write(own.lab.folder / "other.xml", xml.format(other))
    own.lab.virsh("define", str(own.lab.folder / "other.xml"))
    try:
        before = own.lab.virsh("dumpxml", other)
        with own.lab.configured("state_dir = ", f'domain = "{other}"\nstate_dir = '):
            said = own.lab.fails(5)
        assert f"domain {other} does not boot a kernel directly" in said
        assert f"nixvm-loop adopt {other}" in said
        assert own.lab.virsh("dumpxml", other) == before
    finally:
        own.lab.virsh("undefine", other)


def test_delete_leaves_the_domain(own: Own) -> None:
    """`delete` removes the state alone; the user's domain stays as it is, running."""
    before = own.lab.boot_id()
    done = own.lab.loop("delete", "--yes")
    assert done.returncode == 0, done.stderr
    assert "was not made by nixvm-loop for this guest and stays" in done.stderr
    assert not own.lab.state.exists()
    assert own.lab.boot_id() == before


def test_a_console_that_nobody_can_listen_to(own: Own) -> None:
    """A first serial port that libvirt cannot stream is told; the guest boots and is verified all the same."""
    pty = "<serial type='pty'>"
    own.defined(pty, "<serial type='null'>")
    done = own.lab.loop("rebuild", "--force")
    assert done.returncode == 0, done.stderr
    assert "has no console to listen to" in done.stderr
    assert own.lab.booted() == own.lab.toplevel()
    own.defined("<serial type='null'>", pty)
