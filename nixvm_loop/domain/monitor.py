"""What only QEMU itself tells: whether a guest that ends its domain meant to reboot."""

from __future__ import annotations

import json
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from nixvm_loop.domain.binding import library

if TYPE_CHECKING:
    from collections.abc import Callable

# With <on_reboot>destroy</on_reboot>, libvirt tells of a reboot as of a power-off.
_SHUTDOWN: Final = "SHUTDOWN"


class Reset(Enum):
    """Who had the guest start anew; the values are QEMU's reasons."""

    BY_GUEST = "guest-reset"
    BY_HOST = "host-qmp-system-reset"


def register(connection: Any, on_reset: Callable[[Any, Reset], object]) -> Callable[[], None]:
    """Have `on_reset` called with the domain, in libvirt's thread, when a guest resets; returns how to end that.

    Where libvirt does not hand QEMU's events on (another hypervisor, no permission), nothing is ever told.
    """
    libvirt = library()
    import libvirt_qemu  # noqa: PLC0415  # as late as libvirt

    def take(_connection: Any, domain: Any, _event: str, _s: int, _us: int, details: str | None, _opaque: Any) -> None:
        if (by := reset(details)) is not None:
            on_reset(domain, by)

    try:
        number = libvirt_qemu.qemuMonitorEventRegister(connection, None, _SHUTDOWN, take, None)
    except libvirt.libvirtError:
        return lambda: None

    def end() -> None:
        with suppress(libvirt.libvirtError):  # of a connection that has broken
            libvirt_qemu.qemuMonitorEventDeregister(connection, number)

    return end


def reset(details: str | None) -> Reset | None:
    """Whose doing it was, if a SHUTDOWN event of QEMU's is that the guest was to start anew."""
    try:
        value = json.loads(details or "null")
    except ValueError:
        return None
    reason = value.get("reason") if isinstance(value, dict) else None
    return next((one for one in Reset if one.value == reason), None)
