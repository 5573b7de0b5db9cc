"""What libvirt says of a domain's snapshot."""

from __future__ import annotations

from typing import Final

from nixvm_loop.domainxml.parse import element_of

_RUNNING: Final = frozenset({"running", "paused", "blocked"})


def holds_memory(xml: str) -> bool:
    """Whether the snapshot is of a running machine: going back to it needs the devices that it had."""
    root = element_of(xml)
    memory = root.find("memory")
    if memory is not None and memory.get("snapshot"):
        return memory.get("snapshot") != "no"
    return root.findtext("state") in _RUNNING
