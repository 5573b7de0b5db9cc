"""What libvirt's host can do for a domain of ours, asked without side effects."""

from __future__ import annotations

import os
import pwd
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from nixvm_loop.domain.access import can_open
from nixvm_loop.domain.binding import library
from nixvm_loop.domainxml import HostFacts
from nixvm_loop.domainxml.capabilities import Capabilities, interface_backends, read_capabilities

_KVM_DEVICE: Final = Path("/dev/kvm")
_CPUINFO: Final = Path("/proc/cpuinfo")
_ROMS: Final = (Path("/usr/share/qemu/qboot.rom"), Path("/run/current-system/sw/share/qemu/qboot.rom"))
_PROGRAM_FOLDERS: Final = "/usr/bin:/usr/local/bin:/bin:/run/current-system/sw/bin"
_PASST_PROBE: Final = """<domain type='qemu'>
  <name>nixvm-loop-probe</name><memory>65536</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices><interface type='user'><backend type='passt'/></interface></devices>
</domain>"""


def probe(connection: Any, uri: str) -> HostFacts:
    """The facts of the host that `connection` leads to, less its virtiofsd's. Blocking; raises libvirtError."""
    capabilities = read_capabilities(connection.getCapabilities())
    gids = _groups(capabilities)
    local = is_local(uri)
    reason = _no_kvm(connection, capabilities, gids) if local else _no_kvm_offered(connection, capabilities.arch)
    return HostFacts(
        arch=capabilities.arch,
        kvm=not reason,
        no_kvm_because=reason,
        passt=_has_passt(connection, capabilities.arch) and (not local or _has_passt_program()),
        readonly_share=False,
        rom=next((str(path) for path in _ROMS if path.is_file()), None) if local else None,
        qemu_uid=capabilities.qemu_uid,
        qemu_gids=gids,
        libvirt_version=connection.getLibVersion(),
    )


def is_local(uri: str) -> bool:
    """Whether the URI's libvirt runs on this machine: no transport over a network, no host name."""
    match = re.fullmatch(r"[a-z]+(?:\+([a-z0-9]+))?://([^/?]*).*", uri)
    return match is not None and match[1] in {None, "unix"} and not match[2]


def cpu_virtualizes(cpuinfo: str) -> bool:
    """Whether an x86 processor has what KVM needs, by its flags in /proc/cpuinfo."""
    return any(flag in line.split() for line in cpuinfo.splitlines() for flag in ("vmx", "svm"))


def _groups(capabilities: Capabilities) -> tuple[int, ...]:
    if capabilities.qemu_gid is None:
        return ()
    if capabilities.qemu_uid is not None:
        # A user that only the remote host knows has no further groups here.
        with suppress(KeyError):
            user = pwd.getpwuid(capabilities.qemu_uid)
            return tuple(sorted({capabilities.qemu_gid, *os.getgrouplist(user.pw_name, user.pw_gid)}))
    return (capabilities.qemu_gid,)


def _no_kvm(connection: Any, capabilities: Capabilities, gids: tuple[int, ...]) -> str:
    """Why KVM cannot be used on this machine; empty when it can."""
    if not _KVM_DEVICE.is_char_device():
        return f"there is no {_KVM_DEVICE}"
    # The device can be there and do nothing: a guest would start and stay silent for ever.
    if capabilities.arch == "x86_64" and not cpu_virtualizes(_CPUINFO.read_text(encoding="utf-8", errors="replace")):
        return "the processor has neither vmx nor svm"
    if capabilities.qemu_uid is not None and not can_open(_KVM_DEVICE, capabilities.qemu_uid, gids):
        return f"QEMU's user (uid {capabilities.qemu_uid}) may not open {_KVM_DEVICE}"
    return _no_kvm_offered(connection, capabilities.arch)


def _no_kvm_offered(connection: Any, arch: str) -> str:
    try:
        connection.getDomainCapabilities(None, arch, None, "kvm")
    except library().libvirtError as error:
        return f"libvirt does not offer it: {error.get_error_message()}"
    return ""


def _has_passt(connection: Any, arch: str) -> bool:
    libvirt = library()
    try:
        backends = interface_backends(connection.getDomainCapabilities(None, arch, None, "qemu"))
        if backends is not None:
            return "passt" in backends
        # Some versions that should know passt were built without it: only the parser tells.
        connection.domainXMLToNative(libvirt.VIR_CONNECT_DOMAIN_XML_CONFIG_FORMAT_QEMU_ARGV, _PASST_PROBE, 0)
    except (libvirt.libvirtError, AttributeError):
        return False
    return True


def _has_passt_program() -> bool:
    return shutil.which("passt", path=f"{os.environ.get('PATH', '')}:{_PROGRAM_FOLDERS}") is not None
