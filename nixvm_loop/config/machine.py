"""What the keys of domains and [machine] tables have to do with each other, in one guest and between several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nixvm_loop.config.problems import Place, dotted, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nixvm_loop.model.settings import GuestSettings, MachineSettings


def check_machines(guests: Mapping[str, GuestSettings], tables: Mapping[str, Any], place: Place) -> None:
    """Note what cannot be together; `tables` are the guests' own as they stand in the file, at `place`."""
    _check_domains(guests, place)
    _check_ports(guests, place)
    for name, guest in guests.items():
        if guest.machine is not None:
            at = place.child(name).child("machine")
            _check_networks(guest.machine, tables[name]["machine"], at)
            _check_tags(guest.machine, guest.store.share, at.child("shares"))
            _check_disks(guest.machine, at.child("disks"))


def _check_networks(machine: MachineSettings, table: Mapping[str, Any], place: Place) -> None:
    """A guest with an address of its own has no forwarded ports, and a port that leads nowhere must not look as if."""
    for key in ("ssh_port", "forward"):
        if machine.networks and table.get(key):
            place.child(key).fail(
                f"ports are not forwarded to a guest in networks of libvirt's ({dotted(place.child('networks').path)}):"
                " it is reached at its own address; leave one of them out"
            )


def _check_tags(machine: MachineSettings, store_tag: str, place: Place) -> None:
    tags = (share.tag for share in machine.shares)
    for index, tag in _taken(tags, store_tag):
        whose = "the shared store's" if tag == store_tag else "that of another share"
        place.child(index).child("tag").fail(f"the tag {shown(tag)} is also {whose}")


def _check_disks(machine: MachineSettings, place: Place) -> None:
    for index, path in _taken(str(disk.path) for disk in machine.disks):
        place.child(index).child("path").fail(f"there is another disk with the path {shown(path)}")


def _taken(texts: Iterable[str], *before: str) -> Iterator[tuple[int, str]]:
    """Those that came before, with their places."""
    known = set(before)
    for index, text in enumerate(texts):
        if text in known:
            yield index, text
        known.add(text)


def _check_domains(guests: Mapping[str, GuestSettings], place: Place) -> None:
    """Two guests of one domain would each boot it into a system of its own, and take the other's for a stranger's."""
    taken: dict[tuple[str, str], Place] = {}
    for name, guest in guests.items():
        at = place.child(name).child("domain")
        known = taken.setdefault((guest.libvirt_uri, guest.domain), at)
        if known is not at:
            at.fail(
                f"the domain {shown(guest.domain)} at {guest.libvirt_uri} is also that of {dotted(known.path)}: give"
                " each guest a domain of its own"
            )


def _check_ports(guests: Mapping[str, GuestSettings], place: Place) -> None:
    """No two guests, and no guest twice, may answer on one port of 127.0.0.1."""
    taken: dict[int, Place] = {}
    for name, guest in guests.items():
        for port, at in _host_ports(guest, place.child(name).child("machine")):
            if port in taken:
                at.fail(f"port {port} of the host is also that of {dotted(taken[port].path)}")
            taken.setdefault(port, at)


def _host_ports(guest: GuestSettings, machine: Place) -> Iterator[tuple[int, Place]]:
    if guest.machine is not None and not guest.machine.networks:
        yield guest.machine.ssh_port, machine.child("ssh_port")
        for index, forward in enumerate(guest.machine.forward):
            yield forward.host_port, machine.child("forward").child(index)
