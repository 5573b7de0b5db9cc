"""A definition as libvirt prints it, read into facts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from nixvm_loop.domainxml.parse import attribute, parse, text_of
from nixvm_loop.domainxml.values import (
    OWNER_NAMESPACE,
    QEMU_NAMESPACE,
    DomainXml,
    Interface,
    Owner,
    Share,
    StoreMode,
)
from nixvm_loop.model.settings import Forward

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml.etree import _Element

# QEMU's -netdev user,…,hostfwd=tcp:ADDRESS:PORT-ADDRESS:PORT; both addresses may be empty.
_HOSTFWD: Final = re.compile(r"hostfwd=(?:tcp)?:[^:,]*:(\d+)-[^:,]*:(\d+)")


def read(xml: str) -> DomainXml:
    """The facts of a definition, live or not.

    Raises:
        DomainError: the text is not a domain's XML.
    """
    root = parse(xml)
    return DomainXml(
        name=text_of(root, "name") or "",
        uuid=text_of(root, "uuid"),
        kind=root.get("type", ""),
        kernel=text_of(root, "os/kernel"),
        initrd=text_of(root, "os/initrd"),
        cmdline=text_of(root, "os/cmdline"),
        loader=text_of(root, "os/loader"),
        shares=tuple(_share(element) for element in root.iterfind("devices/filesystem")),
        shared_memory=_shared_memory(root),
        on_reboot=text_of(root, "on_reboot") or "restart",
        interfaces=tuple(_interface(element) for element in root.iterfind("devices/interface")),
        forwards=(*_port_forwards(root), *_host_forwards(root)),
        consoles=_consoles(root),
        oem_strings=tuple(element.text or "" for element in root.iterfind("sysinfo/oemStrings/entry")),
        owner=_owner(root),
    )


def _share(element: _Element) -> Share:
    queue = attribute(element, "driver", "queue")
    return Share(
        tag=attribute(element, "target", "dir") or "",
        source=attribute(element, "source", "dir") or attribute(element, "source", "socket"),
        driver=attribute(element, "driver", "type") or "path",
        queue=int(queue) if queue and queue.isdecimal() else None,
        readonly=element.find("readonly") is not None,
    )


def _shared_memory(root: _Element) -> bool:
    if attribute(root, "memoryBacking/access", "mode") == "shared":
        return True
    cells = root.findall("cpu/numa/cell")
    return bool(cells) and all(cell.get("memAccess") == "shared" for cell in cells)


def _interface(element: _Element) -> Interface:
    return Interface(
        kind=element.get("type", ""),
        mac=attribute(element, "mac", "address"),
        network=attribute(element, "source", "network"),
    )


def _consoles(root: _Element) -> tuple[str, ...]:
    serials = [element.get("type", "") for element in root.iterfind("devices/serial")]
    # Libvirt shows the first serial port a second time, as the console.
    consoles = [
        element.get("type", "")
        for element in root.iterfind("devices/console")
        if not (serials and attribute(element, "target", "type") == "serial")
    ]
    return (*serials, *consoles)


def _port_forwards(root: _Element) -> Iterator[Forward]:
    for forward in root.iterfind("devices/interface/portForward"):
        if forward.get("proto", "tcp") != "tcp":
            continue
        for ports in forward.iterfind("range"):
            start = ports.get("start", "")
            to = ports.get("to", start)
            if start.isdecimal() and to.isdecimal() and ports.get("exclude") != "yes":
                yield Forward(int(start), int(to))


def _host_forwards(root: _Element) -> Iterator[Forward]:
    for argument in root.iterfind(f"{{{QEMU_NAMESPACE}}}commandline/{{{QEMU_NAMESPACE}}}arg"):
        for host_port, guest_port in _HOSTFWD.findall(argument.get("value", "")):
            yield Forward(int(host_port), int(guest_port))


def _owner(root: _Element) -> Owner | None:
    guest = root.find(f"metadata/{{{OWNER_NAMESPACE}}}guest")
    if guest is None:
        return None
    absent = guest.get("store") == StoreMode.ABSENT
    return Owner(guest.get("name", ""), guest.get("state", ""), StoreMode.ABSENT if absent else StoreMode.SHARED)
