"""A domain's snapshots, as far as they matter to its definition."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nixvm_loop.domainxml.snapshot import holds_memory

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot; `memory` tells that it holds the memory of a running machine, not disks alone."""

    name: str
    memory: bool


def read_snapshots(handle: Any) -> tuple[Snapshot, ...]:
    """All of a domain's, sorted by name. Blocking; raises libvirtError."""
    found = (Snapshot(one.getName(), holds_memory(one.getXMLDesc())) for one in handle.listAllSnapshots())
    return tuple(sorted(found, key=lambda snapshot: snapshot.name))


def deleted(domain: str, names: Iterable[str]) -> str:
    """The commands that delete a domain's snapshots."""
    return "; ".join(f"`virsh snapshot-delete {shlex.quote(domain)} {shlex.quote(name)}`" for name in names)
