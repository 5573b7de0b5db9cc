"""Guests with the module, evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.nixos.trees import GUEST_MODULE

if TYPE_CHECKING:
    from tests.nixos.trees import Tree


def settings(**values: Any) -> dict[str, Any]:
    """The module switched on, with its options `values`."""
    return {"keystone": {"virtualization": {"guest": {"virtiofs": {"enable": True, **values}}}}}


def forced(value: object) -> dict[str, Any]:
    """Nix's `lib.mkForce value`."""
    return {"_type": "override", "priority": 50, "content": value}


def initrd(kind: str) -> dict[str, Any]:
    """The first stage of `kind`, scripted or systemd."""
    return {"boot": {"initrd": {"systemd": {"enable": forced(kind == "systemd")}}}}


def guest(tree: Tree, *modules: str | dict[str, Any], **values: Any) -> Any:
    """The guest with the module's options `values`; all assertions of NixOS hold."""
    found = tree.evaluate("guest", GUEST_MODULE, settings(**values), *modules)
    assert found["said"]["failed"] == []
    return found


def failed(tree: Tree, *modules: str | dict[str, Any], **values: Any) -> list[str]:
    """The messages of this module's assertions that do not hold."""
    said = tree.evaluate("said", GUEST_MODULE, settings(**values), *modules)
    return [message for message in said["failed"] if "keystone.virtualization.guest.virtiofs" in message]
