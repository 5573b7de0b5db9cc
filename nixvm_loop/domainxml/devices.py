"""The devices of a domain of ours: what the guest boots quickly with, and what the config adds."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from lxml import etree

from nixvm_loop.domainxml.values import LOOPBACK, QEMU_NAMESPACE, HostFacts, HostStore, Owner, StoreMode

if TYPE_CHECKING:
    from lxml.etree import _Element

    from nixvm_loop.model.settings import Disk, MachineSettings

# Slots of the root bus: without them libvirt adds a bridge for each device. Each kind has its own, so that one more
# of a kind moves nothing else.
_STORE_SLOT: Final = 0x02
_RNG_SLOT: Final = 0x03
_NET_SLOTS: Final = 0x04
_SHARE_SLOTS: Final = 0x08
_DISK_SLOTS: Final = 0x10


def add(parent: _Element, tag: str, text: str | None = None, /, **attributes: str) -> _Element:
    """A new last child. Raises ValueError for text that XML cannot carry."""
    element = etree.SubElement(parent, tag, attributes)
    element.text = text
    return element


def virtiofs(folder: str, tag: str, queue: str) -> _Element:
    """A folder that is shared, which stands nowhere yet. Raises ValueError for text that XML cannot carry."""
    filesystem = etree.Element("filesystem", type="mount", accessmode="passthrough")
    add(filesystem, "driver", type="virtiofs", queue=queue)
    add(filesystem, "source", dir=folder)
    add(filesystem, "target", dir=tag)
    return filesystem


def add_to(
    root: _Element, machine: MachineSettings, host: HostFacts, *, owner: Owner, tag: str, store: HostStore
) -> None:
    """Add the devices; the guest mounts the store by `tag`."""
    devices = add(root, "devices")
    add(devices, "controller", type="usb", model="none")
    add(devices, "memballoon", model="none")
    if owner.store is StoreMode.SHARED:
        _shares(devices, machine, host, tag, store)
    for index, disk in enumerate(machine.disks):
        _disk(devices, disk, index)
    add(add(devices, "serial", type="pty"), "target", port="0")
    rng = add(devices, "rng", model="virtio")
    add(rng, "backend", "/dev/urandom", model="random")
    _slot(rng, _RNG_SLOT)
    add(devices, "panic", model="isa")
    for index, network in enumerate(machine.networks):
        _network(devices, network, owner, index)
    if host.passt and not machine.networks:
        _passt(devices, machine, owner)


def _shares(devices: _Element, machine: MachineSettings, host: HostFacts, tag: str, store: HostStore) -> None:
    whole = _share(devices, store.folder, tag, machine.queue, _STORE_SLOT)
    if host.readonly_share:
        add(whole, "readonly")
    for index, share in enumerate(machine.shares):
        element = _share(devices, str(share.source), share.tag, machine.queue, _SHARE_SLOTS + index)
        if share.readonly and host.readonly_share:
            add(element, "readonly")


def _share(devices: _Element, folder: str, tag: str, queue: int, slot: int) -> _Element:
    filesystem = virtiofs(folder, tag, str(queue))
    devices.append(filesystem)
    _slot(filesystem, slot)
    return filesystem


def _disk(devices: _Element, disk: Disk, index: int) -> None:
    element = add(devices, "disk", type="block" if disk.is_device else "file", device="disk")
    add(element, "driver", name="qemu", type=disk.layout)
    add(element, "source", **{"dev" if disk.is_device else "file": str(disk.path)})
    add(element, "target", dev=f"vd{chr(ord('a') + index)}", bus="virtio")
    if disk.readonly:
        add(element, "readonly")
    _slot(element, _DISK_SLOTS + index)


def _slot(device: _Element, slot: int) -> None:
    add(device, "address", type="pci", domain="0x0000", bus="0x00", slot=f"0x{slot:02x}", function="0x0")


def _network(devices: _Element, network: str, owner: Owner, index: int) -> None:
    interface = add(devices, "interface", type="network")
    add(interface, "mac", address=_mac(owner, index))
    add(interface, "source", network=network)
    _card(interface, _NET_SLOTS + index)


def _mac(owner: Owner, index: int) -> str:
    # Libvirt would choose another one at each definition: a change of the domain's, which takes a restart, and for
    # which a network has another address.
    digest = hashlib.sha256(f"{owner.state_dir} {owner.guest} {index}".encode()).hexdigest()
    return f"52:54:00:{digest[:2]}:{digest[2:4]}:{digest[4:6]}"


def _card(interface: _Element, slot: int) -> None:
    add(interface, "model", type="virtio")
    # An option ROM is for booting from the network.
    add(interface, "rom", enabled="no")
    _slot(interface, slot)


def _passt(devices: _Element, machine: MachineSettings, owner: Owner) -> None:
    interface = add(devices, "interface", type="user")
    add(interface, "mac", address=_mac(owner, 0))
    add(interface, "backend", type="passt")
    forwards = add(interface, "portForward", proto="tcp", address=LOOPBACK)
    for forward in machine.forwards:
        add(forwards, "range", start=str(forward.host_port), to=str(forward.guest_port))
    _card(interface, _NET_SLOTS)


def add_slirp(root: _Element, machine: MachineSettings, host: HostFacts) -> None:
    """Add the user-mode network as words for QEMU, where libvirt cannot forward ports and the config has no network."""
    if host.passt or machine.networks:
        return
    forwards = "".join(
        f",hostfwd=tcp:{LOOPBACK}:{forward.host_port}-:{forward.guest_port}" for forward in machine.forwards
    )
    commandline = add(root, f"{{{QEMU_NAMESPACE}}}commandline")
    for word in (
        *("-netdev", f"user,id=nixvm-loop{forwards}"),
        *("-device", f"virtio-net-pci,netdev=nixvm-loop,addr=0x{_NET_SLOTS:02x},romfile="),
    ):
        add(commandline, f"{{{QEMU_NAMESPACE}}}arg", value=word)
