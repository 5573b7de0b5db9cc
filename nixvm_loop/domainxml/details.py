"""What of a definition only who looks for trouble wants to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nixvm_loop.domainxml.parse import parse, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml.etree import _Element


@dataclass(frozen=True, slots=True)
class Details:
    """More facts of a definition.

    Attributes:
        emulator: QEMU's program, None for libvirt's choice.
        daemons: The virtiofsd programs that shares name, in their order.
        locks: Whether a share asks virtiofsd for file locks (`<lock>`).
        backends: What is behind the network cards of type `user` (`passt`).
        files: Every absolute path that the definition names, by the element that does.
    """

    emulator: str | None
    daemons: tuple[str, ...]
    locks: bool
    backends: tuple[str, ...]
    files: tuple[tuple[str, str], ...]


def details(xml: str) -> Details:
    """Read them.

    Raises:
        DomainError: the text is not a domain's XML.
    """
    root = parse(xml)
    binaries = root.findall("devices/filesystem/binary")
    return Details(
        emulator=text_of(root, "devices/emulator"),
        daemons=tuple(path for element in binaries if (path := element.get("path"))),
        locks=any(element.find("lock") is not None for element in binaries),
        backends=tuple(element.get("type", "") for element in root.iterfind("devices/interface[@type='user']/backend")),
        files=tuple(_files(root)),
    )


def _files(root: _Element) -> Iterator[tuple[str, str]]:
    for tag in ("kernel", "initrd", "loader", "dtb", "emulator"):
        for element in root.iter(tag):
            text = (element.text or "").strip()
            if text.startswith("/"):
                yield f"<{tag}>", text
    for element in root.iterfind("devices//*"):
        for name in ("path", "file"):
            value = element.get(name, "")
            if value.startswith("/"):
                yield f"<{element.tag!s} {name}=…>", value
