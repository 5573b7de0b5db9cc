"""What in a definition stands against direct kernel boot with the shared store, each with the way out."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from nixvm_loop.domainxml.parse import attribute, text_of
from nixvm_loop.errors import DomainError

if TYPE_CHECKING:
    from lxml.etree import _Element


def check_adoptable(root: _Element, share: str, stores: frozenset[str]) -> None:
    """Make sure that nothing does; `share` is the tag of the store's share, `stores` the folders that are the store.

    Raises:
        DomainError: the first thing that does.
    """
    name = text_of(root, "name") or ""
    _check_kind(root, name)
    _check_secure_boot(root, name)
    _check_memory(root, name)
    _check_tag(root, name, share, stores)


def is_store_share(filesystem: _Element, tag: str, stores: frozenset[str]) -> bool:
    """Whether a `<filesystem>` is the store's share with this tag."""
    return (
        attribute(filesystem, "target", "dir") == tag
        and attribute(filesystem, "driver", "type") == "virtiofs"
        and attribute(filesystem, "source", "dir") in stores
    )


def _edit(name: str) -> str:
    return f"virsh edit {shlex.quote(name)}"


def _check_kind(root: _Element, name: str) -> None:
    kind = text_of(root, "os/type")
    if kind != "hvm":
        raise DomainError(
            f"domain {name} has <os><type>{kind}</type>: only a full machine (hvm) can boot a kernel of NixOS's",
            hint="adopt a domain of QEMU's",
        )


def _check_secure_boot(root: _Element, name: str) -> None:
    features = {
        feature.get("name"): feature.get("enabled") == "yes" for feature in root.iterfind("os/firmware/feature")
    }
    if features.get("enrolled-keys") is False:
        return  # the firmware knows no keys, so it takes every kernel
    if attribute(root, "os/loader", "secure") == "yes":
        element = "<loader secure='yes'>"
    elif features.get("secure-boot") or features.get("enrolled-keys"):
        element = "<firmware> with the feature secure-boot"
    else:
        return
    raise DomainError(
        f"domain {name} has {element}: its firmware may boot signed kernels only, and those that Nix builds are not",
        hint=f"give it a firmware without secure boot ({_edit(name)}: a plain <loader> and its <nvram>), or leave it"
        " out of the loop and test it as it is",
    )


def _check_memory(root: _Element, name: str) -> None:
    for device in root.iterfind("devices/memory"):
        if device.get("access") == "private":
            raise DomainError(
                f"domain {name} has <memory model='{device.get('model')}' access='private'>: virtiofs needs all memory"
                " shared",
                hint=f"{_edit(name)}: make it access='shared', or remove the device",
            )


def _check_tag(root: _Element, name: str, tag: str, stores: frozenset[str]) -> None:
    same = [one for one in root.iterfind("devices/filesystem") if attribute(one, "target", "dir") == tag]
    element = f"<filesystem> with <target dir='{tag}'/>"
    if len(same) > 1:
        raise DomainError(
            f"domain {name} has {len(same)} {element}: the guest could not tell them apart",
            hint=f"{_edit(name)}: remove all but one",
        )
    if not same or is_store_share(same[0], tag, stores):
        return
    driver = attribute(same[0], "driver", "type") or "path"
    if driver != "virtiofs":
        what = f"of the driver {driver}, which is not virtiofs"
    else:
        source = same[0].find("source")
        leads = None if source is None else source.get("dir") or source.get("socket") or source.get("file")
        what = f"that leads to {leads or 'nothing'}, not to the store"
    raise DomainError(
        f"domain {name} has a {element} {what}",
        hint=f"{_edit(name)}: remove it or give it another tag; or set store.share, here and in the guest",
    )
