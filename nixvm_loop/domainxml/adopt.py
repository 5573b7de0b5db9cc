"""An ordinary domain's definition put on direct kernel boot and the shared store; all else in it stays as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lxml import etree

from nixvm_loop.domainxml.devices import virtiofs
from nixvm_loop.domainxml.obstacles import check_adoptable, is_store_share
from nixvm_loop.domainxml.parse import parse, text_of
from nixvm_loop.domainxml.values import STORE_DIR

if TYPE_CHECKING:
    from lxml.etree import _Element

# The most that QEMU takes.
_QUEUE: Final = "1024"
_INDENT: Final = "  "


@dataclass(frozen=True, slots=True)
class Adoption:
    """What a domain is to get.

    Attributes:
        share: The tag that the guest mounts the store by.
        readonly: Whether libvirt's host can make the share read-only; one that is there already stays as it is.
        stores: Folders that are known to be the store: itself, and mounts of it.
    """

    kernel: str
    initrd: str
    cmdline: str
    share: str
    readonly: bool
    stores: frozenset[str] = frozenset({STORE_DIR})


def adopt(xml: str, adoption: Adoption) -> str:
    """The definition with what is missing for the loop; what it boots stays if that is a kernel already.

    Raises:
        DomainError: something in it stands against that; the message names the element.
    """
    root = parse(xml)
    check_adoptable(root, adoption.share, adoption.stores)
    if text_of(root, "os/kernel") is None:
        _boot(root, adoption)
    _share_memory(root)
    if not any(is_store_share(one, adoption.share, adoption.stores) for one in root.iterfind("devices/filesystem")):
        _share_store(root, adoption)
    return etree.tostring(root.getroottree(), encoding="unicode")


def _boot(root: _Element, adoption: Adoption) -> None:
    system = root.find("os")
    assert system is not None  # noqa: S101  # checked: it has a <type>
    # An empty one would stand in the way of the one that is added.
    for tag in ("kernel", "initrd", "cmdline"):
        for old in system.findall(tag):
            system.remove(old)
    anchors: tuple[str, ...] = ("type", "firmware", "loader", "nvram")
    for tag, text in (("kernel", adoption.kernel), ("initrd", adoption.initrd), ("cmdline", adoption.cmdline)):
        element = etree.Element(tag)
        element.text = text
        _insert(system, element, anchors)
        anchors = (tag,)


def _share_memory(root: _Element) -> None:
    for cell in root.iterfind("cpu/numa/cell"):
        if cell.get("memAccess") == "private":
            cell.set("memAccess", "shared")
    backing = root.find("memoryBacking")
    if backing is None:
        backing = etree.Element("memoryBacking")
        _insert(root, backing, ("memory", "currentMemory", "blkiotune", "memtune"))
    source, access = backing.find("source"), backing.find("access")
    # Huge pages are shareable by themselves, and so is a file; anonymous memory is not.
    if source is None and backing.find("hugepages") is None:
        source = etree.Element("source", type="memfd")
        _insert(backing, source, ("hugepages", "nosharepages", "locked"))
    elif source is not None and source.get("type") == "anonymous":
        source.set("type", "memfd")
    if access is None:
        _insert(backing, etree.Element("access", mode="shared"), ("hugepages", "nosharepages", "locked", "source"))
    else:
        access.set("mode", "shared")


def _share_store(root: _Element, adoption: Adoption) -> None:
    share = virtiofs(STORE_DIR, adoption.share, _QUEUE)
    if adoption.readonly:
        etree.SubElement(share, "readonly")
    etree.indent(share, _INDENT, level=2)
    devices = root.find("devices")
    if devices is None:
        devices = etree.Element("devices")
        _insert(root, devices, ("on_crash", "features", "cpu", "os"))
    _insert(devices, share, ("emulator", "disk", "controller", "lease", "filesystem"))


def _insert(parent: _Element, element: _Element, after: tuple[str, ...]) -> None:
    """Put `element` behind the last of the children that `after` names, or first, indented like its neighbours."""
    before = [index for index, child in enumerate(parent) if child.tag in after]
    place = before[-1] + 1 if before else 0
    depth = sum(1 for _ in parent.iterancestors()) + 1
    if len(parent) == 0:
        parent.text = f"\n{_INDENT * depth}"
        element.tail = f"\n{_INDENT * (depth - 1)}"
    elif place == 0:
        element.tail = parent.text
    else:
        element.tail = parent[place - 1].tail
        parent[place - 1].tail = parent.text
    parent.insert(place, element)
