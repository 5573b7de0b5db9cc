"""The way into a definition: text to elements, without entities, files or network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxml import etree

from nixvm_loop.errors import DomainError

if TYPE_CHECKING:
    from lxml.etree import _Element


def parse(xml: str) -> _Element:
    """The `<domain>` element of a definition.

    Raises:
        DomainError: the text is not a domain's XML.
    """
    try:
        root = element_of(xml)
    except etree.XMLSyntaxError as error:
        raise DomainError(f"the domain's XML cannot be read: {error.msg}") from error
    if root.tag != "domain":
        raise DomainError(f"the domain's XML starts with <{root.tag!s}> instead of <domain>")
    return root


def element_of(xml: str) -> _Element:
    """The element that any XML of libvirt's is. Raises XMLSyntaxError."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, strip_cdata=False)
    # As bytes, because lxml refuses a text that declares an encoding.
    return etree.fromstring(xml.encode(), parser)


def text_of(element: _Element, path: str) -> str | None:
    """The text at `path` without the space around it; None when there is none."""
    found = element.findtext(path)
    return (found.strip() or None) if found is not None else None


def attribute(element: _Element, path: str, name: str) -> str | None:
    """An attribute of the first element at `path`; None when there is no such element, or no such attribute."""
    found = element.find(path)
    return None if found is None else found.get(name)
