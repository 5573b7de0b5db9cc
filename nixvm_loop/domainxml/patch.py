"""The one change that a cycle makes to a definition: what it boots."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from lxml import etree

from nixvm_loop.domainxml.parse import parse, text_of
from nixvm_loop.errors import DomainError

if TYPE_CHECKING:
    from lxml.etree import _Element


def with_boot(xml: str, *, kernel: str, initrd: str, cmdline: str) -> str:
    """The definition with another kernel, initrd and whole command line; everything else stays as it is.

    Raises:
        DomainError: the domain does not boot its kernel directly.
    """
    root = parse(xml)
    system = root.find("os")
    if system is None or text_of(root, "os/kernel") is None:
        raise not_direct(text_of(root, "name") or "")
    for tag, text, before in (("kernel", kernel, "type"), ("initrd", initrd, "kernel"), ("cmdline", cmdline, "initrd")):
        _set(system, tag, text, before)
    return etree.tostring(root.getroottree(), encoding="unicode")


def not_direct(name: str) -> DomainError:
    """The error for a domain whose kernel is not named by its definition."""
    return DomainError(
        f"domain {name} does not boot a kernel directly: its definition has no <kernel>",
        hint=f"`nixvm-loop adopt {shlex.quote(name)}` puts it on direct boot and the shared store, until `nixvm-loop"
        " release`; or give the guest a [machine] table and let `nixvm-loop create` define a domain",
    )


def _set(system: _Element, tag: str, text: str, before: str) -> None:
    element = system.find(tag)
    if element is None:
        element = etree.Element(tag)
        neighbour = system.find(before)
        if neighbour is None:
            system.append(element)
        else:
            neighbour.addnext(element)
            element.tail = neighbour.tail
    element.text = text
