"""Definitions compared by what they mean, and shown without secrets."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final

from lxml import etree

from nixvm_loop.domainxml.parse import parse, text_of

if TYPE_CHECKING:
    from lxml.etree import _Element

_HIDDEN: Final = "*****"


def same(one: str, other: str) -> bool:
    """Whether two definitions say the same: libvirt moves controllers when it reads its own text again."""
    return one == other or _canonical(one) == _canonical(other)


def same_but_boot(one: str, other: str) -> bool:
    """Whether they say the same, whatever kernel, initrd and command line are."""
    return _canonical(less_boot(one)) == _canonical(less_boot(other))


def unified(before: str, after: str, name: str) -> tuple[str, ...]:
    """The lines of a unified diff of two definitions of a domain, without their secrets; none when nothing differs."""
    old, new = without_secrets(before).splitlines(), without_secrets(after).splitlines()
    return tuple(difflib.unified_diff(old, new, f"{name} as it is defined", f"{name} as it would be", lineterm=""))


def without_secrets(xml: str) -> str:
    """The definition as it may be shown; quotes and entities are written anew."""
    root = parse(xml)
    for element in root.iterfind("devices/graphics"):
        if element.get("passwd") is not None:
            element.set("passwd", _HIDDEN)
    return etree.tostring(root.getroottree(), encoding="unicode")


def with_name(xml: str, name: str) -> str:
    """The definition under another name."""
    root = parse(xml)
    for element in root.iterfind("name"):
        if text_of(root, "name") == name:
            return xml
        element.text = name
    return etree.tostring(root.getroottree(), encoding="unicode")


def less_boot(xml: str) -> str:
    """The definition without what each cycle sets: kernel, initrd and command line."""
    root = parse(xml)
    for system in root.iterfind("os"):
        for child in list(system):
            if child.tag in {"kernel", "initrd", "cmdline"}:
                system.remove(child)
    return etree.tostring(root, encoding="unicode")


def meaning(element: _Element) -> tuple[str, list[tuple[str, str]], str, list[Any]]:
    """An element as a value: without comments and indentation, its attributes sorted, and its children if devices."""
    children = [meaning(child) for child in element if isinstance(child.tag, str)]
    tag = str(element.tag)
    return (
        tag,
        sorted(element.items()),
        (element.text or "").strip(),
        sorted(children) if tag == "devices" else children,
    )


def _canonical(xml: str) -> object:
    return meaning(parse(xml))
