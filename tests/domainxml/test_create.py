from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from nixvm_loop.domainxml import HostFacts, Owner, Share, differences, read
from nixvm_loop.errors import DomainError
from nixvm_loop.model.settings import Accelerator, Forward, MachineSettings
from tests.domainxml.made import KEY, NEW, OLD, definition

SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")


def test_the_same_config_gives_the_same_network_card() -> None:
    """Without an address libvirt chooses another at each definition: another card, which would take a restart."""
    addresses = [etree.fromstring(definition(host=NEW)).find("devices/interface/mac") for _ in range(2)]
    first, second = (address.get("address") for address in addresses if address is not None)
    assert first == second
    assert str(first).startswith("52:54:00:")


def test_says_what_a_cycle_relies_on() -> None:
    """The created definition reads back as the machine that was asked for."""
    machine = MachineSettings(ssh_port=2201, forward=(Forward(8080, 80),), queue=512)
    facts = read(definition(machine))
    assert facts.name == "demo"
    assert facts.uuid is None
    assert (facts.kernel, facts.initrd) == ("/state/demo/kernel-current", "/state/demo/initrd-current")
    assert facts.cmdline == "init=/x"
    assert facts.shared_memory
    assert facts.shares == (Share("nix-store-share", "/nix/store", "virtiofs", 512, readonly=False),)
    assert facts.forwards == (Forward(2201, 22), Forward(8080, 80))
    assert facts.on_reboot == "destroy"
    assert facts.consoles == ("pty",)
    assert facts.owner == Owner("demo", "/state/demo & co")
    assert facts.oem_strings == (f"io.systemd.credential:ssh.authorized_keys.root={KEY}",)
    assert facts.kind == "qemu"


def test_takes_what_a_newer_host_offers() -> None:
    """Passt replaces the QEMU arguments with the same ports, the share is read-only, KVM runs it."""
    machine = MachineSettings(ssh_port=2201, forward=(Forward(8080, 80),))
    text = definition(machine, NEW)
    facts = read(text)
    assert "qemu:" not in text.replace("xmlns:qemu", "")
    assert facts.forwards == (Forward(2201, 22), Forward(8080, 80))
    assert facts.shares[0].readonly
    assert facts.kind == "kvm"
    assert facts.loader == "/usr/share/qemu/qboot.rom"
    assert etree.fromstring(text).find("cpu").get("mode") == "host-passthrough"  # type: ignore[union-attr]


@pytest.mark.parametrize("host", [OLD, NEW])
def test_only_the_loopback_listens(host: HostFacts) -> None:
    """Every forwarded port is bound to 127.0.0.1."""
    text = definition(MachineSettings(forward=(Forward(8080, 80),)), host)
    root = etree.fromstring(text)
    arguments = "".join(element.get("value", "") for element in root.iter("{*}arg"))
    addresses = [element.get("address") for element in root.iter("portForward")]
    assert arguments.count("hostfwd=") == arguments.count("hostfwd=tcp:127.0.0.1:") == (0 if addresses else 2)
    assert addresses in ([], ["127.0.0.1"])


@pytest.mark.skipif(not SCHEMA.exists(), reason="libvirt's schemas are not installed")
@pytest.mark.parametrize("host", [OLD, NEW])
@pytest.mark.parametrize("key", [KEY, None])
def test_passes_libvirts_schema(host: HostFacts, key: str | None) -> None:
    """The installed libvirt's own schema accepts it."""
    schema = etree.RelaxNG(file=SCHEMA)
    assert schema.validate(etree.fromstring(definition(host=host, key=key))), schema.error_log


def test_accelerators() -> None:
    """KVM that does not work is an error when asked for, with the reason; emulation can be chosen on any host."""
    with pytest.raises(DomainError, match="neither vmx nor svm"):
        definition(MachineSettings(accelerator=Accelerator.KVM))
    assert read(definition(MachineSettings(accelerator=Accelerator.KVM), NEW)).kind == "kvm"
    assert read(definition(MachineSettings(accelerator=Accelerator.TCG), NEW)).kind == "qemu"


def test_what_cannot_be_written_is_an_error() -> None:
    """A processor without q35 and a text that XML cannot carry are told, not left to libvirt."""
    with pytest.raises(DomainError, match="aarch64"):
        definition(host=replace(OLD, arch="aarch64"))
    with pytest.raises(DomainError, match="cannot be written"):
        definition(cmdline="init=/x \x00")


def test_a_key_is_data() -> None:
    """Markup in a key's comment stays text."""
    facts = read(definition(key="ssh-ed25519 AAAA a</entry><entry>evil\n"))
    assert facts.oem_strings == (
        "io.systemd.credential:ssh.authorized_keys.root=ssh-ed25519 AAAA a</entry><entry>evil",
    )


@pytest.mark.parametrize(
    ("machine", "host", "key", "expected"),
    [
        (MachineSettings(memory_bytes=2**30), OLD, KEY, ("memory: 2097152 becomes 1048576",)),
        (MachineSettings(vcpus=1), OLD, KEY, ("vcpu: 2 becomes 1",)),
        (MachineSettings(queue=256), OLD, KEY, ("devices/filesystem/driver queue: 1024 becomes 256",)),
        (MachineSettings(), OLD, None, ("sysinfo: not wanted any more",)),
        (MachineSettings(), replace(OLD, rom="/rom"), KEY, ("os/loader: missing",)),
        (MachineSettings(), replace(OLD, readonly_share=True), KEY, ("devices/filesystem/readonly: missing",)),
        (MachineSettings(), replace(OLD, kvm=True), KEY, ("domain type: qemu becomes kvm",)),
    ],
)
def test_a_changed_setting_is_a_difference(
    machine: MachineSettings, host: HostFacts, key: str | None, expected: tuple[str, ...]
) -> None:
    """What the configuration changes is found, in words, one by one."""
    found = differences(definition(), definition(machine, host, key=key))
    assert set(expected) <= set(found)
    assert len(found) <= len(expected) + 1


def test_a_port_too_many_is_a_difference() -> None:
    """Ports are compared as a whole list, under SLIRP and passt alike."""
    more = MachineSettings(forward=(Forward(8080, 80),))
    assert differences(definition(more), definition()) != ()
    (difference,) = differences(definition(more, NEW), definition(host=NEW))
    assert "8080" in difference
    assert "not wanted any more" in difference
