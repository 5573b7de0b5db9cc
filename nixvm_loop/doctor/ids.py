"""The names of what doctor itself finds. Each heads a section of docs/troubleshooting.md and is never renamed."""

from __future__ import annotations

from enum import StrEnum


class Id(StrEnum):
    """A finding's name; those of signatures are named where the signatures are."""

    GUEST_UNREACHED = "guest-unreached"
    SSH_KEY_REFUSED = "ssh-key-refused"
    SSH_KEY_UNUSABLE = "ssh-key-unusable"
    HOST_KEY_CHANGED = "host-key-changed"
    BOOT_ID = "boot-id"
    SYSTEM = "system"
    CMDLINE = "cmdline"
    KERNEL = "kernel"
    REBOOTED_INSIDE = "rebooted-inside"
    STORE_SHARE = "store-share"
    STORE_SHARE_READONLY = "store-share-readonly"
    STORE_OVERLAY = "store-overlay"
    OVERLAY_FEATURES = "overlay-features"
    STORE_HIDDEN = "store-hidden"
    STORE_STALE = "store-stale"
    STORE_GONE = "store-gone"
    STORE_ABSENT = "store-absent"
    STORE_WRITE = "store-write"
    RW_STORE_SPACE = "rw-store-space"
    FAILED_UNITS = "failed-units"
