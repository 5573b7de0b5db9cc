"""The only way to libvirt: connections, domains, their state and their events."""

from nixvm_loop.domain.connection import Connection
from nixvm_loop.domain.domain import Domain, StopResult
from nixvm_loop.domain.lifecycle import End, LifecycleEvent, LifecycleKind

__all__ = ["Connection", "Domain", "End", "LifecycleEvent", "LifecycleKind", "StopResult"]
