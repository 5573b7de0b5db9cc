"""The definition of a domain of ours, written for a quick boot: no device that the guest could do without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lxml import etree

from nixvm_loop.domainxml.values import (
    CREDENTIAL_PREFIX,
    LOOPBACK,
    OWNER_NAMESPACE,
    QEMU_NAMESPACE,
    SSH_PORT,
    HostFacts,
    Owner,
)
from nixvm_loop.errors import DomainError
from nixvm_loop.model.settings import Accelerator, Forward, MachineSettings

if TYPE_CHECKING:
    from lxml.etree import _Element

_ARCH: Final = "x86_64"
# Slots of the root bus: without them libvirt adds a bridge for each device.
_SHARE_SLOT: Final = "0x02"
_RNG_SLOT: Final = "0x03"
_NET_SLOT: Final = "0x04"


def create(
    machine: MachineSettings,
    *,
    name: str,
    owner: Owner,
    host: HostFacts,
    share: str,
    kernel: str,
    initrd: str,
    cmdline: str,
    ssh_public_key: str | None,
    store_dir: str = "/nix/store",
    uuid: str | None = None,
) -> str:
    """The XML to define; root may log in with `ssh_public_key` (a line `TYPE KEY`), libvirt chooses a `uuid` of None.

    Raises:
        DomainError: the host cannot run such a machine, or a text holds characters that XML cannot carry.
    """
    if host.arch != _ARCH:
        raise DomainError(
            f"the host's processor is {host.arch}; domains can be created for {_ARCH} only",
            hint="define a domain by hand and leave [machine] out",
        )
    kind = _kind(machine.accelerator, host)
    root = etree.Element("domain", {"type": kind}, nsmap={"qemu": QEMU_NAMESPACE})
    try:
        _identity(root, name, uuid, owner)
        _resources(root, machine, kind)
        _boot(root, host, kernel, initrd, cmdline)
        _key(root, ssh_public_key)
        _devices(root, machine, host, share, store_dir)
        if not host.passt:
            _slirp(root, machine)
    except ValueError as error:
        raise DomainError(f"the definition of domain {name} cannot be written: {error}") from error
    etree.indent(root)
    return etree.tostring(root, encoding="unicode") + "\n"


def _kind(accelerator: Accelerator, host: HostFacts) -> str:
    if accelerator is Accelerator.KVM and not host.kvm:
        raise DomainError(
            f"accelerator is kvm, but KVM does not work here: {host.no_kvm_because}",
            hint='set machine.accelerator = "auto" to fall back to emulation',
        )
    return "kvm" if host.kvm and accelerator is not Accelerator.TCG else "qemu"


def _add(parent: _Element, tag: str, text: str | None = None, /, **attributes: str) -> _Element:
    element = etree.SubElement(parent, tag, attributes)
    element.text = text
    return element


def _identity(root: _Element, name: str, uuid: str | None, owner: Owner) -> None:
    _add(root, "name", name)
    if uuid is not None:
        _add(root, "uuid", uuid)
    guest = etree.SubElement(
        _add(root, "metadata"), f"{{{OWNER_NAMESPACE}}}guest", nsmap={"nixvm-loop": OWNER_NAMESPACE}
    )
    guest.set("name", owner.guest)
    guest.set("state", owner.state_dir)


def _resources(root: _Element, machine: MachineSettings, kind: str) -> None:
    _add(root, "memory", str(machine.memory_bytes // 1024), unit="KiB")
    backing = _add(root, "memoryBacking")
    _add(backing, "source", type="memfd")
    _add(backing, "access", mode="shared")
    _add(root, "vcpu", str(machine.vcpus))
    _add(root, "cpu", mode="host-passthrough" if kind == "kvm" else "maximum")
    clock = _add(root, "clock", offset="utc")
    _add(clock, "timer", name="hpet", present="no")
    for event in ("on_poweroff", "on_reboot", "on_crash"):
        _add(root, event, "destroy")


def _boot(root: _Element, host: HostFacts, kernel: str, initrd: str, cmdline: str) -> None:
    system = _add(root, "os")
    _add(system, "type", "hvm", arch=_ARCH, machine="q35")
    if host.rom is not None:
        _add(system, "loader", host.rom, readonly="yes", type="rom")
    _add(system, "kernel", kernel)
    _add(system, "initrd", initrd)
    _add(system, "cmdline", cmdline)
    _add(_add(root, "features"), "acpi")


def _key(root: _Element, ssh_public_key: str | None) -> None:
    if ssh_public_key is None:
        return
    # systemd in the guest takes it as a credential; anything else can read it in /sys/firmware/dmi/entries.
    strings = _add(_add(root, "sysinfo", type="smbios"), "oemStrings")
    _add(strings, "entry", f"{CREDENTIAL_PREFIX}ssh.authorized_keys.root={ssh_public_key.strip()}")
    system = root.find("os")
    if system is not None:
        _add(system, "smbios", mode="sysinfo")


def _devices(root: _Element, machine: MachineSettings, host: HostFacts, share: str, store_dir: str) -> None:
    devices = _add(root, "devices")
    _add(devices, "controller", type="usb", model="none")
    _add(devices, "memballoon", model="none")
    _share(devices, machine.queue, host, share, store_dir)
    _add(_add(devices, "serial", type="pty"), "target", port="0")
    rng = _add(devices, "rng", model="virtio")
    _add(rng, "backend", "/dev/urandom", model="random")
    _slot(rng, _RNG_SLOT)
    _add(devices, "panic", model="isa")
    if host.passt:
        _passt(devices, machine)
    # Kernel and initrd are in the store: their owner must not change to QEMU's user.
    _add(root, "seclabel", type="none", model="dac")


def _share(devices: _Element, queue: int, host: HostFacts, share: str, store_dir: str) -> None:
    filesystem = _add(devices, "filesystem", type="mount", accessmode="passthrough")
    _add(filesystem, "driver", type="virtiofs", queue=str(queue))
    _add(filesystem, "source", dir=store_dir)
    _add(filesystem, "target", dir=share)
    if host.readonly_share:
        _add(filesystem, "readonly")
    _slot(filesystem, _SHARE_SLOT)


def _slot(device: _Element, slot: str) -> None:
    _add(device, "address", type="pci", domain="0x0000", bus="0x00", slot=slot, function="0x0")


def _forwards(machine: MachineSettings) -> tuple[Forward, ...]:
    return (Forward(machine.ssh_port, SSH_PORT), *machine.forward)


def _passt(devices: _Element, machine: MachineSettings) -> None:
    interface = _add(devices, "interface", type="user")
    _add(interface, "backend", type="passt")
    forwards = _add(interface, "portForward", proto="tcp", address=LOOPBACK)
    for forward in _forwards(machine):
        _add(forwards, "range", start=str(forward.host_port), to=str(forward.guest_port))
    _add(interface, "model", type="virtio")
    # An option ROM is for booting from the network.
    _add(interface, "rom", enabled="no")
    _slot(interface, _NET_SLOT)


def _slirp(root: _Element, machine: MachineSettings) -> None:
    forwards = "".join(
        f",hostfwd=tcp:{LOOPBACK}:{forward.host_port}-:{forward.guest_port}" for forward in _forwards(machine)
    )
    commandline = _add(root, f"{{{QEMU_NAMESPACE}}}commandline")
    for word in (
        *("-netdev", f"user,id=nixvm-loop{forwards}"),
        *("-device", f"virtio-net-pci,netdev=nixvm-loop,addr={_NET_SLOT},romfile="),
    ):
        _add(commandline, f"{{{QEMU_NAMESPACE}}}arg", value=word)
