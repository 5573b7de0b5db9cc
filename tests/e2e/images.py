"""Disk images for guests, made without programs that a host may lack."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_CLUSTER_BITS = 16
_CLUSTER = 1 << _CLUSTER_BITS


def raw(path: Path, size_bytes: int) -> None:
    """An image of zeros."""
    with path.open("wb") as file:
        file.truncate(size_bytes)


def qcow2(path: Path, size_bytes: int) -> None:
    """An empty image, version 2: a header, a table and a block of reference counts, an empty first-level table."""
    first_level_entries = -(-size_bytes // (_CLUSTER * _CLUSTER // 8))
    header = struct.pack(
        ">4sIQIIQIIQQIIQ",
        b"QFI\xfb", 2, 0, 0, _CLUSTER_BITS, size_bytes, 0, first_level_entries, 3 * _CLUSTER, _CLUSTER, 1, 0, 0,
    )  # fmt: skip
    clusters = (header, struct.pack(">Q", 2 * _CLUSTER), struct.pack(">4H", 1, 1, 1, 1), b"")
    path.write_bytes(b"".join(cluster.ljust(_CLUSTER, b"\0") for cluster in clusters))
