"""The mark on a running domain that says which boot it is: an element of its metadata, gone with the instance."""

from __future__ import annotations

from typing import Final

from lxml import etree

from nixvm_loop.domainxml.parse import element_of
from nixvm_loop.domainxml.values import BOOT_NAMESPACE

MARK_PREFIX: Final = "nixvm-loop-boot"
MARK_NAMESPACE: Final = BOOT_NAMESPACE


def mark_element(text: str) -> str:
    """The metadata element that holds `text`."""
    return etree.tostring(etree.Element("boot", {"mark": text}), encoding="unicode")


def mark_text(element: str) -> str | None:
    """What `mark_element` was given; None for an element of another make."""
    return element_of(element).get("mark")
