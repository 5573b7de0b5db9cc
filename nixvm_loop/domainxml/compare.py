"""How a definition differs from the one that is wanted, leaving out what libvirt adds by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nixvm_loop.domainxml.parse import parse
from nixvm_loop.domainxml.values import OWNER_NAMESPACE, QEMU_NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml.etree import _Element

# Lists that have to be exactly as wanted: an element too many (a port, a key) is a difference.
_WHOLE: Final = frozenset({f"{{{QEMU_NAMESPACE}}}commandline", "oemStrings", "portForward"})
# What libvirt never adds by itself, so that its presence in one definition only is a difference.
_OPTIONAL: Final = (
    "os/loader",
    "sysinfo",
    "memoryBacking",
    "seclabel[@type='none']",
    f"{{{QEMU_NAMESPACE}}}commandline",
)
# The same, wherever it stands.
_NEVER_ADDED: Final = frozenset({"disk", "filesystem", "interface", "readonly"})
_NAMED_BY: Final = ("file", "dev", "dir", "network")
_PREFIXES: Final = {f"{{{QEMU_NAMESPACE}}}": "qemu:", f"{{{OWNER_NAMESPACE}}}": "nixvm-loop:"}


def differences(defined: str, wanted: str) -> tuple[str, ...]:
    """What has to change in `defined` to be what `create` gave as `wanted`, in words; empty when nothing has to.

    Raises:
        DomainError: one of the texts is not a domain's XML.
    """
    old, new = parse(defined), parse(wanted)
    found = list(_differences(old, new, ""))
    found += [
        f"{shown_tag(path)}: not wanted any more" for path in _OPTIONAL if _has(old, path) and not _has(new, path)
    ]
    return tuple(found)


def _has(root: _Element, path: str) -> bool:
    return root.find(path) is not None


def _name(element: _Element) -> str:
    return shown_tag(str(element.tag))


def shown_tag(tag: str) -> str:
    """An element's name with the prefix that it usually has for its namespace."""
    for namespace, prefix in _PREFIXES.items():
        tag = tag.replace(namespace, prefix)
    return tag


def _children(element: _Element) -> list[_Element]:
    # Comments have a function for a tag.
    return [child for child in element if isinstance(child.tag, str)]


def _differences(old: _Element, new: _Element, path: str) -> Iterator[str]:
    """What `new` has and `old` has not, or has otherwise."""
    where = path or "domain"
    for key, value in new.items():
        if old.get(key) != value and not _same_machine(key, old.get(key), value):
            yield f"{where} {key}: {old.get(key) or 'none'} becomes {value}"
    old_text, new_text = (old.text or "").strip(), (new.text or "").strip()
    if new_text != old_text and not _children(new):
        yield f"{where}: {old_text or 'none'} becomes {new_text or 'none'}"
    yield from _children_differ(old, new, path)


def _children_differ(old: _Element, new: _Element, path: str) -> Iterator[str]:
    left = _children(old)
    for child in _children(new):
        child_path = f"{path}/{_name(child)}".lstrip("/")
        candidates = [element for element in left if element.tag == child.tag]
        if not candidates:
            label = _label(child) if child.tag in _NEVER_ADDED else ""
            yield f"{child_path}: {f'{label} is new' if label else 'missing'}"
            continue
        # The nearest of several devices of a kind is the one that is meant.
        match = min(candidates, key=lambda element: sum(1 for _ in _differences(element, child, child_path)))
        left.remove(match)
        yield from _differences(match, child, child_path)
    for element in left:
        if new.tag in _WHOLE or element.tag in _NEVER_ADDED:
            label = _label(element)
            yield f"{path}/{_name(element)}: {label + ' is ' if label else ''}not wanted any more".lstrip("/")


def _label(element: _Element) -> str:
    source = element.find("source")
    if source is not None:
        return next(filter(None, map(source.get, _NAMED_BY)), "")
    return (element.text or "").strip() or " ".join(f"{key}={value}" for key, value in element.items())


def _same_machine(key: str, old: str | None, new: str) -> bool:
    # Libvirt writes the alias q35 as the version that it stands for.
    return key == "machine" and old is not None and old.startswith(f"pc-{new}-")
