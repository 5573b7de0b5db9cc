"""The definition of a domain of ours, written for a quick boot: no device that the guest could do without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lxml import etree

from nixvm_loop.domainxml import devices
from nixvm_loop.domainxml.devices import add
from nixvm_loop.domainxml.values import (
    CREDENTIAL_PREFIX,
    OWNER_NAMESPACE,
    QEMU_NAMESPACE,
    HostFacts,
    HostStore,
    Owner,
    StoreMode,
)
from nixvm_loop.errors import DomainError
from nixvm_loop.model.settings import Accelerator, MachineSettings

if TYPE_CHECKING:
    from lxml.etree import _Element

_ARCH: Final = "x86_64"


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
    store: HostStore = HostStore(),  # noqa: B008  # it is frozen
    uuid: str | None = None,
) -> str:
    """The XML to define; root may log in with `ssh_public_key` (a line `TYPE KEY`), libvirt chooses a `uuid` of None.

    Without the shared store (`owner.store`) it has no shared folder at all, nor memory to share with one.

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
        _resources(root, machine, kind, owner.store)
        _boot(root, host, kernel, initrd, cmdline)
        _key(root, ssh_public_key)
        devices.add_to(root, machine, host, owner=owner, tag=share, store=store)
        _labels(root, machine, store)
        devices.add_slirp(root, machine, host)
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


def _identity(root: _Element, name: str, uuid: str | None, owner: Owner) -> None:
    add(root, "name", name)
    if uuid is not None:
        add(root, "uuid", uuid)
    guest = etree.SubElement(
        add(root, "metadata"), f"{{{OWNER_NAMESPACE}}}guest", nsmap={"nixvm-loop": OWNER_NAMESPACE}
    )
    guest.set("name", owner.guest)
    guest.set("state", owner.state_dir)
    if owner.store is not StoreMode.SHARED:
        guest.set("store", owner.store)


def _resources(root: _Element, machine: MachineSettings, kind: str, store: StoreMode) -> None:
    add(root, "memory", str(machine.memory_bytes // 1024), unit="KiB")
    if store is StoreMode.SHARED:
        backing = add(root, "memoryBacking")
        add(backing, "source", type="memfd")
        add(backing, "access", mode="shared")
    add(root, "vcpu", str(machine.vcpus))
    add(root, "cpu", mode="host-passthrough" if kind == "kvm" else "maximum")
    clock = add(root, "clock", offset="utc")
    add(clock, "timer", name="hpet", present="no")
    for event in ("on_poweroff", "on_reboot", "on_crash"):
        add(root, event, "destroy")


def _boot(root: _Element, host: HostFacts, kernel: str, initrd: str, cmdline: str) -> None:
    system = add(root, "os")
    add(system, "type", "hvm", arch=_ARCH, machine="q35")
    if host.rom is not None:
        add(system, "loader", host.rom, readonly="yes", type="rom")
    add(system, "kernel", kernel)
    add(system, "initrd", initrd)
    add(system, "cmdline", cmdline)
    add(add(root, "features"), "acpi")


def _key(root: _Element, ssh_public_key: str | None) -> None:
    if ssh_public_key is None:
        return
    # systemd in the guest takes it as a credential; anything else can read it in /sys/firmware/dmi/entries.
    strings = add(add(root, "sysinfo", type="smbios"), "oemStrings")
    add(strings, "entry", f"{CREDENTIAL_PREFIX}ssh.authorized_keys.root={ssh_public_key.strip()}")
    system = root.find("os")
    if system is not None:
        add(system, "smbios", mode="sysinfo")


def _labels(root: _Element, machine: MachineSettings, store: HostStore) -> None:
    # Kernel and initrd are in the store: their owner must not change to QEMU's user. Libvirt knows no such exception,
    # so that it can give disks to that user only where it cannot change the store at all.
    if not (machine.disks and store.unchanging):
        add(root, "seclabel", type="none", model="dac")
