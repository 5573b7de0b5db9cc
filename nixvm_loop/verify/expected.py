"""What a cycle expects the guest to be."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from nixvm_loop.model.settings import StoreSettings

if TYPE_CHECKING:
    from pathlib import Path

    from nixvm_loop.model.settings import CheckSettings
    from nixvm_loop.model.values import Action


class HostShare(StrEnum):
    """Whether the host itself refuses what the guest writes to the share."""

    REFUSES = "the host refuses writes too"
    ALLOWS = "but the host would let root in the guest write"
    UNKNOWN = "whether the host enforces it is not known"


@dataclass(frozen=True, slots=True)
class Expected:
    """What the guest should show.

    Attributes:
        system: The toplevel that was built: it must be current.
        booted_system: The toplevel that must be booted: `system`, except in a boot that was switched to it.
        cmdline: The booted generation's, with its one `init=`.
        kernel: The booted generation's, as a store path; so is `initrd`.
        live_kernel: What the running domain's XML names, every link followed; None when it names none.
        kernel_release: Of `kernel`, None when the image does not tell.
        previous_boot_id: Of the boot before this cycle, None when it is not known.
        since_start_s: How long before the look into the guest nixvm-loop started the domain; None if it did not.
        paths: The store paths that the guest was asked for.
        gone: Those that this host does not have any more.
        settings: The checks of the config; those without a command say whether a check of ours is required.
    """

    action: Action
    system: Path
    booted_system: Path
    cmdline: str
    kernel: Path
    initrd: Path
    live_kernel: Path | None
    live_initrd: Path | None
    kernel_release: str | None = None
    previous_boot_id: str | None = None
    since_start_s: float | None = None
    host_share: HostShare = HostShare.UNKNOWN
    store: StoreSettings = StoreSettings()  # noqa: RUF009  # it is frozen
    paths: tuple[str, ...] = ()
    gone: frozenset[str] = frozenset()
    settings: tuple[CheckSettings, ...] = ()
