"""The guest from within: reach its sshd, ask for facts, run commands. The only room that uses asyncssh."""

from __future__ import annotations

from nixvm_loop.guest.access import Access, ssh_argv
from nixvm_loop.guest.connection import Connection
from nixvm_loop.guest.converse import CommandEnd, CommandResult
from nixvm_loop.guest.facts import FactsRequest
from nixvm_loop.guest.hostkeys import HostKeys
from nixvm_loop.guest.keys import KeyPair, ensure_key, kept_key
from nixvm_loop.guest.reach import not_kept, private_key, reach
from nixvm_loop.guest.switch import Switch

__all__ = [
    "Access",
    "CommandEnd",
    "CommandResult",
    "Connection",
    "FactsRequest",
    "HostKeys",
    "KeyPair",
    "Switch",
    "ensure_key",
    "kept_key",
    "not_kept",
    "preload",
    "private_key",
    "reach",
    "ssh_argv",
]


def preload() -> None:
    """Import what is slow to import (0.2 s), so that a thread can do it while the guest still boots."""
    import asyncssh  # noqa: F401, PLC0415
