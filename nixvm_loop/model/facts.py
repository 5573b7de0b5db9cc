"""What a guest said about itself: facts only, judged by `verify`."""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003  # read at run time by dataclass tools
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Mount:
    """A row of /proc/self/mountinfo, escapes undone.

    Attributes:
        root: What part of the filesystem is mounted here.
        options: Of this mount (`ro`, `relatime`).
        super_options: Of the filesystem; a flag has the value "". The overlay's folders are as the running system
            names them: the initrd's prefix is gone.
    """

    id: int
    parent: int
    root: str
    mount_point: str
    options: frozenset[str]
    fs_type: str
    source: str
    super_options: Mapping[str, str]

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written through this mount."""
        return "ro" in self.options or "ro" in self.super_options

    @property
    def lower_layers(self) -> tuple[str, ...]:
        """An overlay's lower folders, the topmost first."""
        # A colon in a folder's name is escaped.
        parts = re.split(r"(?<!\\):", self.super_options.get("lowerdir", ""))
        return tuple(part.replace("\\:", ":") for part in parts if part)


@dataclass(frozen=True, slots=True)
class Space:
    """How full a filesystem is. `inodes` is 0 where it has no limit of them."""

    used_bytes: int
    size_bytes: int
    used_inodes: int
    inodes: int


class ProbeResult(StrEnum):
    """How an attempt to write went; `NO_MEANS` when it could not be made."""

    WRITTEN = "written"
    REFUSED = "refused"
    NO_MEANS = "no means"


@dataclass(frozen=True, slots=True)
class WriteProbe:
    """An attempt to write to the store, and what the guest said about it."""

    result: ProbeResult
    message: str = ""


@dataclass(frozen=True, slots=True)
class GuestFacts:
    """What one look into the guest showed. None stands for what the guest did not tell.

    Attributes:
        booted_system: What /run/booted-system leads to, every link followed.
        current_system: The same of /run/current-system.
        is_root: Whether we are root there.
        listens: Whether somebody listens on the TCP port that we came by, so that others may still come.
        has_nix: Whether it has a Nix, and so a database of what is in its store.
        share: What is seen at the place of the read-only share, None when nothing is mounted there.
        store: The same of the store's mount point: the top row where several are stacked.
        layer: The mount that is the place of the store's writable layer, None when it is a folder of another one.
        rw_store: How full the filesystem is that holds the store's writable layer.
        store_write: None only when the guest did not say.
        paths_checked: How many store paths were looked up through the store's mount point.
        missing_paths: Those of them that were not there, by any of these reasons.
        hidden_paths: Those that the share has and the overlay hides: they were looked up before they were built.
        stale_paths: Those that the share has and the overlay knows as they were before they were replaced.
        system_state: What `systemctl is-system-running` says; None where there is no systemd.
        failed_units: Known once the start-up is over.
        lacks: Programs that were looked for in vain.
    """

    boot_id: str | None = None
    uptime_s: float | None = None
    booted_system: str | None = None
    current_system: str | None = None
    cmdline: str | None = None
    kernel_release: str | None = None
    is_root: bool = False
    listens: bool | None = None
    has_nix: bool = False
    share: Mount | None = None
    store: Mount | None = None
    layer: Mount | None = None
    rw_store: Space | None = None
    store_write: WriteProbe | None = None
    paths_checked: int | None = None
    missing_paths: tuple[str, ...] = ()
    hidden_paths: tuple[str, ...] = ()
    stale_paths: tuple[str, ...] = ()
    system_state: str | None = None
    failed_units: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()

    @property
    def starting(self) -> bool:
        """Whether systemd is still busy with the start-up, so that failed units are not known yet."""
        return self.system_state in {"initializing", "starting"}
