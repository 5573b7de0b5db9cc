"""What libvirt says about its host, read from its two kinds of capabilities."""

from __future__ import annotations

from dataclasses import dataclass

from nixvm_loop.domainxml.parse import element_of


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The host's processor, and the user and group (numbers) that QEMU runs as, None where libvirt does not say."""

    arch: str
    qemu_uid: int | None
    qemu_gid: int | None


def read_capabilities(xml: str) -> Capabilities:
    """The facts in libvirt's answer to `virsh capabilities`."""
    root = element_of(xml)
    label = ""
    for model in root.iterfind("host/secmodel"):
        if model.findtext("model") == "dac":
            label = model.findtext("baselabel[@type='kvm']") or model.findtext("baselabel") or ""
    uid, _, gid = label.partition(":")
    return Capabilities(root.findtext("host/cpu/arch") or "", _number(uid), _number(gid))


def _number(text: str) -> int | None:
    digits = text.strip().removeprefix("+")
    return int(digits) if digits.isdecimal() else None


def interface_backends(xml: str) -> tuple[str, ...] | None:
    """The network backends in the answer to `virsh domcapabilities`; None from a libvirt too old to tell."""
    found = element_of(xml).find("devices/interface/enum[@name='backendType']")
    return None if found is None else tuple(value.text or "" for value in found.iterfind("value"))
