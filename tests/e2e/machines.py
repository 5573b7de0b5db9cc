"""Guests with more than the least that they need, and what their host has mounted for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e import images

if TYPE_CHECKING:
    from tests.e2e.lab import Lab

VIEW = Path("/run/nixvm-loop/store")
MIB = 2**20
DEVICES = """
shares = [{ tag = "extra", source = "share" }]
disks = [
  { path = "data.qcow2" },
  { path = "plain.img" },
  { path = "fixed.img", readonly = true },
]
"""


def view_is_mounted() -> bool:
    """Whether the read-only mount of the store is there."""
    return any(line.split()[4] == str(VIEW) for line in Path("/proc/self/mountinfo").read_text().splitlines())


def with_devices(lab: Lab) -> Lab:
    """The lab with three disks, as many formats, and a shared folder, made by its user."""
    images.qcow2(lab.folder / "data.qcow2", 64 * MIB)
    images.raw(lab.folder / "plain.img", 8 * MIB)
    images.raw(lab.folder / "fixed.img", 4 * MIB)
    (lab.folder / "share").mkdir()
    (lab.folder / "share/greeting").write_text("from the host")
    lab.configure((lab.folder / "nixvm-loop.toml").read_text() + DEVICES)
    return lab
