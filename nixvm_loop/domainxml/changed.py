"""What became of a definition, to the last attribute: what is lost when the definition from before comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nixvm_loop.domainxml.compare import shown_tag
from nixvm_loop.domainxml.normal import less_boot, meaning
from nixvm_loop.domainxml.parse import attribute, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lxml.etree import _Element

_SECRETS: Final = frozenset({"passwd"})
# What tells one of several elements of a kind from the others, in words that the user knows it by.
_NAMED_BY: Final = (
    ("target", "dev"), ("target", "dir"), ("mac", "address"), ("source", "network"), ("source", "dir"),
    (".", "name"), (".", "dev"), (".", "value"), (".", "model"), (".", "type"),
)  # fmt: skip


def changed_since(before: str, now: str) -> tuple[str, ...]:
    """What became of a definition, in words; kernel, initrd and command line, which each cycle sets, are left out.

    Nothing is told where `normal.same` finds nothing, and something where it finds anything.

    Raises:
        DomainError: one of the texts is not a domain's XML.
    """
    return tuple(_changes(parse(less_boot(before)), parse(less_boot(now)), ""))


def moved_disks(before: str, now: str) -> tuple[tuple[str, str, str], ...]:
    """The disks whose file or device is another: what the guest calls them, what it was, and what it is.

    Raises:
        DomainError: one of the texts is not a domain's XML.
    """
    old, new = _disks(before), _disks(now)
    return tuple((name, old[name], new[name]) for name in old if name in new and old[name] != new[name])


def _disks(xml: str) -> dict[str, str]:
    found = {}
    for disk in parse(xml).iterfind("devices/disk[@device='disk']"):
        name = attribute(disk, "target", "dev")
        source = attribute(disk, "source", "file") or attribute(disk, "source", "dev")
        if name and source:
            found[name] = source
    return found


def _changes(old: _Element, new: _Element, path: str) -> Iterator[str]:
    if meaning(old) == meaning(new):
        return
    where = path or "domain"
    for key in dict.fromkeys((*old.keys(), *new.keys())):
        yield from _change(f"{where} {key}", old.get(key), new.get(key), secret=key in _SECRETS)
    yield from _change(where, _text(old), _text(new), secret=False)
    gone, come = _unlike(_children(old), _children(new))
    if not gone and not come and new.tag != "devices":
        if [meaning(child) for child in _children(old)] != [meaning(child) for child in _children(new)]:
            yield f"{where}: its elements were put in another order"
        return
    for child in gone:
        match = _nearest(child, come)
        if match is None:
            yield f"{_place(path, child)}{_label(child)} was removed"
            continue
        come.remove(match)
        several = any(other is not child and other.tag == child.tag for other in _children(old))
        yield from _changes(child, match, _place(path, child) + (_label(child) if several else ""))
    for child in come:
        yield f"{_place(path, child)}{_label(child)} was added"


def _change(what: str, old: str | None, new: str | None, *, secret: bool) -> Iterator[str]:
    if old == new:
        return
    if secret:
        yield f"{what} is another"
    elif not old:
        yield f"{what}: {new} was added"
    elif not new:
        yield f"{what}: {old} was removed"
    else:
        yield f"{what}: {old} became {new}"


def _unlike(old: Sequence[_Element], new: Sequence[_Element]) -> tuple[list[_Element], list[_Element]]:
    """Those without a twin among the others, each way."""
    come = list(new)
    gone = []
    for child in old:
        twin = next((other for other in come if meaning(other) == meaning(child)), None)
        if twin is None:
            gone.append(child)
        else:
            come.remove(twin)
    return gone, come


def _nearest(element: _Element, others: Sequence[_Element]) -> _Element | None:
    """The one that it has become: of its kind, by the same name if there is one, and else the most like it."""
    kind = [other for other in others if other.tag == element.tag]
    named = [other for other in kind if _label(other) == _label(element)]
    return min(named or kind, key=lambda other: sum(1 for _ in _changes(element, other, "")), default=None)


def _children(element: _Element) -> list[_Element]:
    # Comments have a function for a tag.
    return [child for child in element if isinstance(child.tag, str)]


def _text(element: _Element) -> str:
    return (element.text or "").strip()


def _place(path: str, child: _Element) -> str:
    return f"{path}/{shown_tag(str(child.tag))}".lstrip("/")


def _label(element: _Element) -> str:
    name = next((found for path, key in _NAMED_BY if (found := attribute(element, path, key))), None)
    return f" {name}" if name else f" {_text(element)}" if _text(element) else ""
